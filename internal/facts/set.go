package facts

import (
	"iter"
	"net/netip"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/linkspan/linkspan/internal/model"
)

// Owner says whom a fact is about: "host", "network/<id>", "overlay/<id>" or "endpoint/<id>". What a plan makes of
// it belongs to the owners of rows (desired.Owner) that plan.OwnersOf names.
type Owner string

// HostOwner is the machine itself.
const HostOwner Owner = "host"

const (
	networkPrefix  = "network/"
	endpointPrefix = "endpoint/"
	overlayPrefix  = "overlay/"
)

// Fact is one thing that was learned: a Host, a Network, an Overlay or an Endpoint. It stands for all
// that is known of its owner; the next one takes its place.
type Fact interface {
	Owner() Owner
	// Empty tells whether nothing is known. To learn that is to forget.
	Empty() bool
	in(Set) Set
}

// Set is all that is known at one moment. It never changes: With returns another,
// which shares what is the same. The zero value knows nothing.
type Set struct {
	Host      Host
	networks  *iradix.Tree[Network]
	endpoints *iradix.Tree[Endpoint]
	overlays  *iradix.Tree[Overlay]

	// Asked are questions of other ops that have no answer yet. What those would have is
	// not free.
	Asked []Question

	// Taken are host ports that could not be had a moment ago. They are known only
	// to an op that runs again for that reason.
	Taken []TakenPorts
	// TakenNames are interfaces that containers have made for themselves, known in the
	// same way.
	TakenNames []TakenName
}

// With returns a Set that knows more.
func (s Set) With(learned ...Fact) Set {
	for _, f := range learned {
		s = f.in(s)
	}
	return s
}

// Of returns what is known of an owner, which may be nothing.
func (s Set) Of(owner Owner) Fact {
	if id, ok := strings.CutPrefix(string(owner), endpointPrefix); ok {
		return s.Endpoint(model.EndpointID(id))
	}
	if id, ok := strings.CutPrefix(string(owner), overlayPrefix); ok {
		return s.Overlay(model.NetworkID(id))
	}
	if id, ok := strings.CutPrefix(string(owner), networkPrefix); ok {
		return s.Network(model.NetworkID(id))
	}
	return s.Host
}

// Network returns what is known of a network, which may be nothing.
func (s Set) Network(id model.NetworkID) Network {
	if s.networks != nil {
		if n, ok := s.networks.Get([]byte(id)); ok {
			return n
		}
	}
	return Network{ID: id}
}

// Endpoint returns what is known of an endpoint, which may be nothing.
func (s Set) Endpoint(id model.EndpointID) Endpoint {
	if s.endpoints != nil {
		if e, ok := s.endpoints.Get([]byte(id)); ok {
			return e
		}
	}
	return Endpoint{ID: id}
}

// Endpoints yields what is known of endpoints, ordered by ID.
func (s Set) Endpoints() iter.Seq[Endpoint] {
	return func(yield func(Endpoint) bool) {
		if s.endpoints != nil {
			s.endpoints.Root().Walk(func(_ []byte, e Endpoint) bool { return !yield(e) })
		}
	}
}

// Endpoint is what somebody outside has said of one endpoint: the lease of a DHCP
// server, the answer of a plugin. Values are immutable.
type Endpoint struct {
	ID model.EndpointID
	// Addr4 and Addr6 are the addresses that it was given, with the length of their
	// subnet; Gateway4 and Gateway6 the routers there. Invalid ones were not given.
	Addr4, Addr6       netip.Prefix
	Gateway4, Gateway6 netip.Addr
	// MAC is the hardware address that it was given; empty if none was.
	MAC string
	// Joined is set if a driver outside has put it on its network.
	Joined *Joined
	// Lease4 is all that the DHCP server has said that gave Addr4; nil if none did.
	Lease4 *model.Lease
	// Lease6 is the same of Addr6, or what a router has said of whose prefix that is.
	Lease6 *model.Lease
}

// Address returns the address of family f that it was given, with the length of its
// subnet; invalid if none was.
func (e Endpoint) Address(f model.Family) netip.Prefix {
	if f == model.IPv4 {
		return e.Addr4
	}
	return e.Addr6
}

// Lease returns what came with the address of family f; nil for nothing.
func (e Endpoint) Lease(f model.Family) *model.Lease {
	if f == model.IPv4 {
		return e.Lease4
	}
	return e.Lease6
}

// WithLease returns e with what it was given in family f; with nil, without.
func (e Endpoint) WithLease(f model.Family, l *model.Lease) Endpoint {
	var given model.Lease
	if l != nil {
		given = *l
	}
	if f == model.IPv4 {
		e.Addr4, e.Gateway4, e.Lease4 = given.Prefix, given.Gateway, l
	} else {
		e.Addr6, e.Gateway6, e.Lease6 = given.Prefix, given.Gateway, l
	}
	return e
}

// Gateway returns the router of family f; invalid if none was named.
func (e Endpoint) Gateway(f model.Family) netip.Addr {
	if f == model.IPv4 {
		return e.Gateway4
	}
	return e.Gateway6
}

// Owner implements Fact.
func (e Endpoint) Owner() Owner { return Owner(endpointPrefix + string(e.ID)) }

// Empty implements Fact.
func (e Endpoint) Empty() bool { return e == Endpoint{ID: e.ID} }

func (e Endpoint) in(s Set) Set {
	s.endpoints = put(s.endpoints, string(e.ID), e)
	return s
}

// put returns a tree in which a fact takes the place of what was known of its owner.
func put[T Fact](t *iradix.Tree[T], id string, f T) *iradix.Tree[T] {
	if t == nil {
		t = iradix.New[T]()
	}
	if f.Empty() {
		t, _, _ = t.Delete([]byte(id))
	} else {
		t, _, _ = t.Insert([]byte(id), f)
	}
	return t
}

// Owner implements Fact.
func (h Host) Owner() Owner { return HostOwner }

// Empty implements Fact. Something is known of the host always.
func (h Host) Empty() bool { return false }

func (h Host) in(s Set) Set {
	s.Host = h
	return s
}
