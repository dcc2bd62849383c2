package conntrack

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Stale says which connections are to be forgotten: every one that has one of
// the addresses as source or destination in either direction, and those that a
// change of a published port has put in the wrong.
type Stale struct {
	Addrs map[netip.Addr]bool
	Ports map[desired.Publish]Change
}

// Change is what happened to a published port.
type Change bool

// A port that was published, and one that is no longer.
const (
	Published Change = true
	Withdrawn Change = false
)

func (s Stale) empty() bool { return len(s.Addrs) == 0 && len(s.Ports) == 0 }

// merge adds what else is stale. Of two changes of one port the later counts.
func (s *Stale) merge(more Stale) {
	for a := range more.Addrs {
		s.Addrs[a] = true
	}
	for p, c := range more.Ports {
		s.Ports[p] = c
	}
}

func nothing() Stale {
	return Stale{Addrs: map[netip.Addr]bool{}, Ports: map[desired.Publish]Change{}}
}

// filter finds what is stale among many connections.
type filter struct {
	addrs  map[netip.Addr]bool
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
	f := filter{addrs: s.Addrs, ports: map[port][]rule{}}
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
