// Package firewall decides who may talk to whom, as policy intents: what shall
// hold, never by which rules. Each backend renders the intents its own way.
//
// It is pure. The defaults are safe: what no intent allows does not pass.
package firewall

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Settings are the daemon's words on the firewall as a whole.
type Settings struct {
	// DirectRouting lets the outside reach published ports at containers' own addresses,
	// and whatever else somebody accepts (--allow-direct-routing).
	DirectRouting bool
	// Accept, unless nil, is the mark of packets that every network lets in
	// (--bridge-accept-fwmark).
	Accept *desired.AcceptMark
	// Off4 and Off6 say that no rule of a family is to be written (--iptables=false,
	// --ip6tables=false).
	Off4, Off6 bool
}

// Off tells whether no rule of family f is to be written.
func (s Settings) Off(f model.Family) bool {
	if f == model.IPv4 {
		return s.Off4
	}
	return s.Off6
}

// Border is what a bridge network as a whole is allowed.
type Border struct {
	Bridge     string
	Internal   bool // nothing gets in or out
	ICC        bool // its containers may talk to one another
	IPv4       bool // its containers have IPv4
	Subnets    []netip.Prefix
	Masquerade []Masquerade
	// Sockets are the families in which ports are served from sockets of the host.
	Sockets []model.Family
	// Direct are the families in which others of the host may let something in to
	// containers' own addresses.
	Direct []model.Family
}

// Masquerade is a subnet that leaves under the host's address: Source, or whichever
// the route names.
type Masquerade struct {
	Subnet netip.Prefix
	Source netip.Addr
}

// Network returns the policies of a network. A network without a way out needs
// no masquerade.
func Network(b Border) []desired.Row {
	direct := func(f model.Family) bool { return !b.Internal && slices.Contains(b.Direct, f) }
	rows := []desired.Row{desired.BridgePolicy{
		Bridge: b.Bridge, Internal: b.Internal, ICC: b.ICC, Direct4: direct(model.IPv4), Direct6: direct(model.IPv6),
	}}
	if b.Internal {
		return rows
	}
	if len(b.Sockets) > 0 {
		has := func(f model.Family) bool { return slices.Contains(b.Sockets, f) }
		rows = append(rows, desired.Transparent{Bridge: b.Bridge}, desired.Rule{Link: b.Bridge, IPv4: has(model.IPv4), IPv6: has(model.IPv6)})
	}
	for _, m := range b.Masquerade {
		rows = append(rows, desired.Masquerade{Bridge: b.Bridge, Subnet: m.Subnet.Masked(), Source: m.Source})
	}
	return rows
}

// Fence returns what holds at the network's bridge without any rule: an internal
// network stays closed, and ports that are published on the host's 127.0.0.1 do not
// open that to the network.
func Fence(b Border) desired.Fence {
	if b.Internal {
		return desired.Fence{Link: b.Bridge, Inside: b.Subnets}
	}
	return desired.Fence{Link: b.Bridge, Localhost: b.IPv4}
}

// Elsewhere returns what lets a port use addresses that its container has on other
// networks.
func Elsewhere(port string, addrs []netip.Addr) []desired.Row {
	return []desired.Row{desired.Elsewhere{Port: port, Addrs: addrs}}
}

// Host returns the policies of the machine itself: where the engine switched
// forwarding on, it does not thereby make a router of the host; no container speaks
// from one of its addresses; and what an administrator has marked is let in.
func Host(h model.Host, f facts.Host, s Settings) []desired.Row {
	var rows []desired.Row
	if s.Accept != nil {
		rows = append(rows, *s.Accept)
	}
	if !h.Router && (h.Forwarding4 || h.Forwarding6) {
		rows = append(rows, desired.ForwardDrop{IPv4: h.Forwarding4, IPv6: h.Forwarding6})
	}
	if len(f.Addrs) > 0 || len(f.MACs) > 0 {
		addrs := f.Addrs
		for _, mac := range f.MACs {
			addrs = withOwnLinkLocal(addrs, mac)
		}
		rows = append(rows, desired.Identity{MACs: f.MACs, Addrs: addrs})
	}
	return rows
}
