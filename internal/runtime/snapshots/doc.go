// Package snapshots makes and removes the file systems of containers: a writable layer on an
// init layer on the layers of an image, as snapshots of containerd's.
//
// It promises that no link of an image leads what is mounted, linked or made for a container
// out of it (see makeInitLayer), that a volume is filled from an image the same way, and that a
// layer stays until Remove: it is a root of containerd's garbage collector.
//
// Ours: snapshots with the label LabelContainer, those whose keys begin with InitLayerKey, and
// SpareKey, all in our containerd namespace.
package snapshots
