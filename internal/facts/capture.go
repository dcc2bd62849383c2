package facts

import "time"

// Tap is an interface whose frames are to be captured.
type Tap struct {
	Namespace string // name below /run/netns; empty: the host's
	Link      string
	// Incoming and Outgoing say which frames, as the interface sees them.
	Incoming, Outgoing bool
	Description        string // whose it is, in words
}

// Place is a Tap by the kernel's number of its interface.
type Place struct {
	Index              int
	Incoming, Outgoing bool
}

// Frame is one that was captured.
type Frame struct {
	Tap      int // which, of those that were asked for
	At       time.Time
	Data     []byte // what was kept of it
	Length   int    // of all of it, in bytes
	Outgoing bool
}

// CaptureCounts is what became of frames so far, at the taps of one namespace.
type CaptureCounts struct {
	Tap     int    // the first of them
	Dropped uint64 // for which whoever reads was too slow
}
