package model

import "strings"

// GuestPrefix begins the IDs that stand for a guest's container, and so the name of its
// namespace below NetnsDir: no container's ID begins so.
const GuestPrefix = "ns-"

// IsGuest tells whether the name of a namespace below NetnsDir is one that we gave to
// somebody else's.
func IsGuest(namespace string) bool { return strings.HasPrefix(namespace, GuestPrefix) }

// Guest is a network namespace that somebody else made and that is attached to networks
// of ours: of a process, a pod, a virtual machine. Its interfaces that lead to us, and
// what is on them, are ours; all else in it is its maker's.
type Guest struct {
	// Path is where it was found when it was attached first: "/run/netns/blue",
	// "/proc/17/ns/net".
	Path string
	// Device and Inode say which namespace it is (namespaces(7)), in the boot with the
	// ID Boot and for as long as it lives. We keep a name for it, so it does.
	Device, Inode uint64
	Boot          string
	// Out4 and Out6 say that it had a way out of its own, of that family, and keeps it.
	Out4, Out6 bool `json:",omitempty"`
}

// Claim says for whom an endpoint of a guest is held, in the words of whoever asked.
type Claim struct {
	Door      string // by which it came: DoorCNI, DoorAttach, DoorBuild
	Config    string `json:",omitempty"` // CNI: the name of the network configuration
	Container string `json:",omitempty"` // CNI: the runtime's ID for the container
	// Publish are the ports of the sandbox that it brought.
	Publish []PortSpec `json:",omitempty"`
}

// The doors by which guests come.
const (
	DoorCNI    = "cni"
	DoorAttach = "attach"
	DoorBuild  = "build" // a step of docker build
)
