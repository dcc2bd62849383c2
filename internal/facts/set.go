package facts

import (
	"iter"
	"net/netip"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/linkspan/linkspan/internal/model"
)

// Owner says whom a fact is about: "host", or "endpoint/<id>". What a plan makes of
// it belongs to the owners of rows (desired.Owner) that plan.OwnersOf names.
type Owner string

// HostOwner is the machine itself.
const HostOwner Owner = "host"

const endpointPrefix = "endpoint/"

// Fact is one thing that was learned: a Host or an Endpoint. It stands for all that
// is known of its owner; the next one takes its place.
type Fact interface {
	Owner() Owner
	in(Set) Set
}

// Set is all that is known at one moment. It never changes: With returns another,
// which shares what is the same. The zero value knows nothing.
type Set struct {
	Host      Host
	endpoints *iradix.Tree[Endpoint]

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
	return s.Host
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
}

// Owner implements Fact.
func (e Endpoint) Owner() Owner { return Owner(endpointPrefix + string(e.ID)) }

// Empty tells whether nothing is known. To learn that is to forget.
func (e Endpoint) Empty() bool { return e == Endpoint{ID: e.ID} }

func (e Endpoint) in(s Set) Set {
	if s.endpoints == nil {
		s.endpoints = iradix.New[Endpoint]()
	}
	if e.Empty() {
		s.endpoints, _, _ = s.endpoints.Delete([]byte(e.ID))
	} else {
		s.endpoints, _, _ = s.endpoints.Insert([]byte(e.ID), e)
	}
	return s
}

// Owner implements Fact.
func (h Host) Owner() Owner { return HostOwner }

func (h Host) in(s Set) Set {
	s.Host = h
	return s
}
