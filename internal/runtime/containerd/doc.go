// Package containerd is the connection to containerd: the system's own, or a child of
// ours that is started, adopted, watched and started again.
//
// It promises that a request outlives a restart of containerd, that a child outlives
// the daemon and is found again, and that an error tells what kind it is, whatever words
// containerd, its shims or runc chose for it: words.go has them all. It must not know
// what containers and images are for.
package containerd
