// Package localvolume keeps the volumes of the driver "local": a folder each below the
// data root, with what is known of a volume beside its data, as docs/adr/0045 has it.
//
//	volumes/NAME/volume.json    driver, time, labels, options
//	volumes/NAME/_data          what containers see
//	volumes/.new-NAME           being made: has no name yet
//	volumes/.old-NAME-N         being removed: has no name any more
//
// It promises that a volume is there whole or not at all, wherever the daemon is killed;
// that users of the host cannot reach into volumes (CVE-2021-41091); and that what a
// container left in a volume leads nowhere else: no link of its is followed by name. It
// must not decide who may make or remove a volume, which package volumes does.
//
// Ours: all in the folder volumes/ of the data root, and what is mounted on a _data or
// below the folder for parts.
package localvolume
