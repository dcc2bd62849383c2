package model

import "time"

// Volume is a folder that outlives the containers that mount it.
type Volume struct {
	Name    string
	Driver  string // "local"
	Created time.Time
	Labels  map[string]string // nil: none were given
	Options map[string]string // of the driver; nil: none were given
	// Mountpoint is where the data lies on the host.
	Mountpoint string
}

// LabelAnonymous marks volumes that nobody gave a name, as Docker does.
const LabelAnonymous = "com.docker.volume.anonymous"

// VolumeRequest asks for a volume, which is made if there is none of that name. An
// empty name is a new one without a name; an empty driver is any.
type VolumeRequest struct {
	Name, Driver    string
	Options, Labels map[string]string
}

// VolumeUse is a volume at a place in a container.
type VolumeUse struct {
	Name, Target string
	ReadOnly     bool
	// Subpath, if set, is the part of the volume that is mounted, which is reached at
	// Part while the volume is mounted for the container.
	Subpath, Part string
	// Image, if set, is what is mounted instead of a volume: the files of an image, at Part.
	Image ImageID
	// Quiet leaves the mount out of the events.
	Quiet bool
}
