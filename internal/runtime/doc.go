// Package runtime runs containers and keeps images: the hand that speaks to
// containerd, the system's own or a child that it supervises.
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
// Ours: everything in one containerd namespace (Options.Namespace). Nothing in
// another namespace is ever listed, changed or deleted.
//
// Only services that containerd 1.6 has are used (no Transfer, Sandbox or
// RuntimeInfo), so that Debian 12's containerd will do.
package runtime
