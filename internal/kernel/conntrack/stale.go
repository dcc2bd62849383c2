package conntrack

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Stale says which connections are to be forgotten: every one that has one of
// the addresses as source or destination in either direction, those that a
// change of a published port has put in the wrong, and those that a service led to a
// backend which is gone.
type Stale struct {
	Addrs map[netip.Addr]bool
	Ports map[desired.Publish]Change
	Led   map[Led]bool
}

// Led is where connections to a frontend (desired.Frontend) were led to. One without a port
// has no protocol either, and its backend no port.
type Led struct {
	To       netip.AddrPort
	Protocol byte // its number
	Backend  netip.AddrPort
}

// Change is what happened to a published port.
type Change bool

// A port that was published, and one that is no longer.
const (
	Published Change = true
	Withdrawn Change = false
)

func (s Stale) empty() bool { return len(s.Addrs) == 0 && len(s.Ports) == 0 && len(s.Led) == 0 }

// merge adds what else is stale. Of two changes of one port the later counts.
func (s *Stale) merge(more Stale) {
	for a := range more.Addrs {
		s.Addrs[a] = true
	}
	for p, c := range more.Ports {
		s.Ports[p] = c
	}
	for l := range more.Led {
		s.Led[l] = true
	}
}

func nothing() Stale {
	return Stale{Addrs: map[netip.Addr]bool{}, Ports: map[desired.Publish]Change{}, Led: map[Led]bool{}}
}

// OfAddrs is what is stale when addresses of containers are gone, and published ports were changed.
func OfAddrs(addrs, policies []desired.Delta) Stale {
	stale := nothing()
	for _, d := range addrs {
		if row := d.Old.(desired.Addr); row.Namespace != desired.HostNamespace {
			stale.Addrs[row.Prefix.Addr()] = true
		}
	}
	for _, d := range policies {
		if port, ok := d.Old.(desired.Publish); ok {
			stale.Ports[port] = Withdrawn
		}
	}
	for _, d := range policies {
		if port, ok := d.New.(desired.Publish); ok {
			stale.Ports[port] = Published
		}
	}
	return stale
}

// OfPorts is what is stale when published ports have come back.
func OfPorts(rows []desired.Row) Stale {
	stale := nothing()
	for _, row := range rows {
		if p, ok := row.(desired.Publish); ok {
			stale.Ports[p] = Published
		}
	}
	return stale
}

// OfBackends is what is stale when a service's backends have changed: connections with those
// that are gone. Who is draining is there.
func OfBackends(d desired.Delta) Stale {
	stale := nothing()
	old, _ := d.Old.(desired.Balance)
	now, _ := d.New.(desired.Balance)
	for _, b := range slices.Concat(old.Backends, old.Draining) {
		if !slices.Contains(now.Backends, b) && !slices.Contains(now.Draining, b) {
			stale.Led[Led{netip.AddrPortFrom(old.To.Addr, old.To.Port), old.To.Protocol.Number(), b}] = true
		}
	}
	return stale
}

// filter finds what is stale among many connections.
type filter struct {
	addrs  map[netip.Addr]bool
	led    map[Led]bool
	ports  map[port][]rule // of single ports
	ranges []rule
	local  map[netip.Addr]bool // addresses of this host; nil if nobody needs them
}

type port struct {
	protocol byte
	number   uint16
}

type rule struct {
	desired.Publish
	change Change
}

// filter reads the addresses of the host, in the namespace of the calling
// thread, if a port was published at all of them.
func (s Stale) filter() (filter, error) {
	f := filter{addrs: s.Addrs, led: s.Led, ports: map[port][]rule{}}
	anywhere := false
	for p, c := range s.Ports {
		r := rule{p, c}
		anywhere = anywhere || c == Published && p.Host.IsUnspecified()
		if p.First != p.Last {
			f.ranges = append(f.ranges, r)
			continue
		}
		at := port{p.Protocol.Number(), p.First}
		f.ports[at] = append(f.ports[at], r)
	}
	if !anywhere {
		return f, nil
	}
	var err error
	f.local, err = localAddrs()
	return f, err
}

func localAddrs() (map[netip.Addr]bool, error) {
	c, err := rtnl.Open(new(atomic.Int64))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	all, err := addr.List(c, 0)
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, i := range all {
		out[i.Prefix.Addr()] = true
	}
	return out, nil
}

func (f filter) matches(one flow) bool {
	for _, d := range []direction{one.orig, one.reply} {
		if f.addrs[d.source] || f.addrs[d.destination] {
			return true
		}
	}
	if f.led[one.led(false)] || f.led[one.led(true)] {
		return true
	}
	for _, r := range f.ports[port{one.protocol, one.orig.destinationPort}] {
		if r.stale(one, f.isLocal) {
			return true
		}
	}
	for _, r := range f.ranges {
		if r.Protocol.Number() == one.protocol && r.stale(one, f.isLocal) {
			return true
		}
	}
	return false
}

// led is where a connection to a frontend was led to: one with ports, or without.
func (f flow) led(ports bool) Led {
	if !ports {
		return Led{To: netip.AddrPortFrom(f.orig.destination, 0), Backend: netip.AddrPortFrom(f.reply.source, 0)}
	}
	return Led{
		netip.AddrPortFrom(f.orig.destination, f.orig.destinationPort), f.protocol,
		netip.AddrPortFrom(f.reply.source, f.reply.sourcePort),
	}
}

func (f filter) isLocal(a netip.Addr) bool { return a.IsLoopback() || f.local[a] }

// stale tells whether a connection of the rule's protocol has the published port
// for its destination and goes elsewhere than it should now.
//
// A port that was withdrawn leaves connections that lead to the container. One
// that was published finds some that lead to the host itself, or to a previous
// container: of those to the host, an established TCP connection may be
// somebody's who has closed his listener, and stays.
func (r rule) stale(one flow, isLocal func(netip.Addr) bool) bool {
	at := one.orig.destinationPort
	if at < r.First || at > r.Last || one.orig.destination.Is4() != r.Host.Is4() {
		return false
	}
	there := one.reply.source == r.To && one.reply.sourcePort == r.ToFirst+(at-r.First)
	if !r.Host.IsUnspecified() && one.orig.destination != r.Host {
		return false
	}
	if r.change == Withdrawn {
		return there
	}
	if there || r.Host.IsUnspecified() && !isLocal(one.orig.destination) {
		return false
	}
	return one.protocol == unix.IPPROTO_UDP || one.status&statusDestinationNAT != 0 || one.status&statusAssured == 0
}
