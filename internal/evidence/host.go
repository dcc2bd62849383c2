package evidence

import (
	"net/netip"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// Host is what was seen of a machine that runs the engine, or is to.
type Host struct {
	Root   bool // it was looked at with all rights
	Kernel string
	// Lacks are what the kernel cannot do, by name, with its own words.
	Lacks map[string]string
	// Controllers are those of cgroups; Cgroup is their version, "1" or "2".
	Cgroup      string
	Controllers []string
	// Settings are values below /proc/sys, by path; those that do not exist are missing.
	Settings map[string]string
	Daemon   Daemon
	// Programs are what is found in PATH of those that are needed.
	Programs map[string]bool
	Runtime  Service // containerd
	Links    []Link
	Routes   []HostRoute
	Chains   []Chain // base chains of others, at hooks that matter
	// Firewalls are programs that keep rules of their own here: "ufw", "firewalld".
	Firewalls   []string
	Resolvers   []NameServer // each was asked one question
	Leftovers   []Leftover
	Connections Connections
	Neighbours  int
	Descriptors []Descriptors
	Disks       []Disk
	Clock       Clock
	// Failed are the looks that failed, by what they were about.
	Failed map[string]string
}

// Daemon is what its private socket tells.
type Daemon struct {
	Runs     bool
	Err      string // why it could not be asked
	Version  string
	Pid      int
	Backend  string // of the firewall
	Networks []Network
	// Drift is what differs between what it wants of the kernel and what there is.
	Drift   []string
	Ways    []Way
	Claimed []Claimed
	Peers   []Peer
}

// Network is one of the engine's.
type Network struct {
	Name     string
	Device   string
	Subnets  []netip.Prefix
	Internal bool
}

// Peer is another host on networks of this one.
type Peer struct {
	Addr     netip.Addr
	Networks []string
	Largest  int // bytes of the packets that are sent there
	// Route and Hop are the way there, MTU what its first link takes, Probe an echo request.
	Route Route
	Hop   Neighbour
	MTU   int
	Probe Probe
}

// Way is what rules make of the packets of one container, or to one published port.
type Way struct {
	What    string // "container web to the outside"
	Verdict Verdict
}

// Claimed is a port that a container wants, and who has it now.
type Claimed struct {
	Container string
	Protocol  model.Protocol
	At        netip.AddrPort
	Holder    string
}

// Service is a program that listens at a socket.
type Service struct {
	Socket string
	There  bool
	Err    string // why it does not answer
}

// HostRoute is one of the main table.
type HostRoute struct {
	Destination netip.Prefix
	Gateway     netip.Addr
	Link        string
	Ours        bool
}

// Chain is a base chain of nf_tables or iptables that somebody else has.
type Chain struct {
	Table, Name string
	Hook        string
	Drops       bool // its policy is to drop
	Accepts     bool // it has our rule that accepts packets of our networks first
	Rules       int
}

// Leftover is something that an engine that is no more has left.
type Leftover struct {
	What string // "interface docker0"
	Of   string // "a dockerd", "another linkspand"
	Mend string
}

// Descriptors is how many files a process has open.
type Descriptors struct {
	Who         string
	Open, Limit int
}

// Disk is how full a file system is.
type Disk struct {
	Path                    string
	Free, Size              uint64 // bytes; free for others than root
	InodesFree, InodesTotal uint64
	ReadOnly                bool
	Err                     string
}

// Clock is how far the machine's may be believed.
type Clock struct {
	Now          time.Time
	Synchronised bool
	Unknown      bool
}
