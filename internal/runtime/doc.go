// Package runtime runs containers and their processes on containerd, and has the images they
// are made from. Open connects and puts together what each caller needs:
//
//	Containers   file system and specification: create, delete, list, limits
//	Tasks        first processes: make, start, wait, signal, pause, delete
//	Execs        further processes
//	Images       the store of images
//
// Packages below know no processes: containerd is the connection, ocispec translates a
// container for OCI runtimes, snapshots makes file systems, imagestore keeps images.
//
// It promises that what it makes can be found again by a freshly started daemon:
// containers carry the engine's ID, their snapshots are roots of containerd's
// garbage collection until Delete, and the standard streams are FIFOs with
// computed names. It must not decide anything: names, restart policies, networks
// and who may remove what are the callers' business.
//
//	Create ──▶ NewTask ──▶ Start ──▶ Wait ──▶ DeleteTask ──▶ Delete
//	snapshot   process 1   it runs   it has   its state      snapshot and
//	and spec   waits, and            ended    is gone        record are gone
//	           streams exist
//
// Behind them, of all three: processes asks containerd how processes are; streams holds the
// FIFO ends that must be open; taskLocks let one at a time change a task; execLimiter bounds
// starts of execs; staleTasks removes what starts that were cut short have left.
//
// Ours: everything in one containerd namespace (Options.Namespace). Nothing in
// another namespace is ever listed, changed or deleted.
//
// Only services that containerd 1.6 has are used (no Transfer, Sandbox or
// RuntimeInfo), so that Debian 12's containerd will do.
package runtime
