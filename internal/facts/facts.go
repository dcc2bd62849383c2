// Package facts holds what was learned from the host rather than asked for by a
// user: routes, name servers, kernel features.
//
// It is data. A fact that is missing means that whatever depends on it is not
// planned yet, never that a planner waits.
package facts

import "net/netip"

// Host is what the engine knows about the machine. Values are immutable: a new
// observation is a new Host.
type Host struct {
	// Instance marks kernel objects as this engine's, in a way that outlives its
	// process: the first digits of the ID in its store.
	Instance string
	// OnLink are the prefixes that the host reaches directly. A pool chosen by
	// itself never overlaps one, so that a LAN is not cut off.
	OnLink []netip.Prefix
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
}
