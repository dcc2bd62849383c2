// Package imagestore is the store of images on containerd: which there are and by which names,
// and how they come in and go out as archives.
//
// It promises Docker's answers about names and IDs, that an archive is taken in whole or
// not at all, and that an image whose content is damaged hides neither itself nor others.
// It must not decide whether an image may be removed that a container uses.
//
// Ours: all image records in our containerd namespace. Each image has, beside its tags,
// a record that is none, by which its content stays when its last tag moves away.
package imagestore
