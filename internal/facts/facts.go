// Package facts holds what was learned rather than asked for by a user: of the
// host its routes, name servers and kernel features, of an endpoint what somebody
// outside has said of it. A Set is all of that at one moment, by owner.
//
// It is data. A fact that is missing means that whatever depends on it is not
// planned yet, never that a planner waits.
package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Host is what the engine knows about the machine. Values are immutable: a new
// observation is a new Host.
type Host struct {
	// Instance marks kernel objects as this engine's, in a way that outlives its
	// process: the first digits of the ID in its store.
	Instance string
	// OnLink are the prefixes that the host reaches directly. A pool chosen by
	// itself never overlaps one, so that a LAN is not cut off.
	OnLink []netip.Prefix
	// Links are the names of the host's interfaces, in order; nil if they are not known.
	Links []string
	// Addrs are the host's own addresses by which others know it, and MACs those of
	// the interfaces that have any, in order: not those of bridges of ours, of its
	// loopback and on single links. Plans follow from them.
	Addrs []netip.Addr
	MACs  []string
	// Resolvers are the name servers of the host; reserved like OnLink.
	Resolvers []netip.Addr
	// BootID changes with every boot of the host; empty if it is not known.
	BootID string
	// ForwardingOff4 and ForwardingOff6 say that the host does not forward
	// packets of that family.
	ForwardingOff4, ForwardingOff6 bool
	// UniqueLocal is the /48 from which IPv6 subnets are taken by default
	// (RFC 4193), derived from the instance.
	UniqueLocal netip.Prefix
	// NoIPv6 says that the host cannot listen on IPv6.
	NoIPv6 bool
	// LocalPorts is where the kernel takes ephemeral ports from
	// (ip_local_port_range); zero if it is not known.
	LocalPorts model.PortRange
	// ReservedPorts are never given out by themselves (ip_local_reserved_ports).
	ReservedPorts []model.PortRange
	// Own are the TCP ports at which the daemon itself listens.
	Own []netip.AddrPort
	// Packets says what sizes of packets the host can cope with.
	Packets Packets
}

// Packets is how large packets can be on this host that are cut to a link's MTU
// at the last moment (kernel: GSO), for each family. Plans follow from it.
type Packets struct {
	// Large4 and Large6 say that the kernel takes more than 65536 bytes if it is
	// told to (BIG TCP: Linux 6.3 for IPv4, 5.19 for IPv6).
	Large4, Large6 bool
	// Out4 and Out6 are what every way out of the host takes, in bytes: the least
	// of the interfaces that its default routes lead to. 0 if there is none, or if
	// the kernel does not say.
	Out4, Out6 int
}

// TakenName is an interface's name that is used already in a container.
type TakenName struct{ Namespace, Name string }

// TakenPorts are host ports that somebody outside holds.
type TakenPorts struct {
	Protocol model.Protocol
	Addr     netip.Addr
	Ports    model.PortRange
	Why      string // the system's words: "address already in use"
	Who      string // "process nginx, pid 123"; empty if it is not known
}
