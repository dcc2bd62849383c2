package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Joined is how a driver outside has put an endpoint on its network. Values are immutable.
type Joined struct {
	// Link is the interface of the host that is to be the container's; empty if the
	// driver gives it none. Prefix is what its name in the container begins with.
	Link, Prefix string
	Routes       []Route
	// Alone says that the container needs no way out by another network, though this
	// one leads nowhere.
	Alone bool
	// Outward is what the driver was told last.
	Outward Outward
}

// Route is a way to somewhere that a driver outside, or a server, has named.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr // invalid: directly, by the interface
}

// Default tells whether the route is for all of its family.
func (r Route) Default() bool { return r.Destination.IsValid() && r.Destination.Bits() == 0 }

// Outward says in which families a container leaves by an endpoint, and so is reached
// from outside there.
type Outward struct {
	Gateway4, Gateway6 bool
	// Gateway6Elsewhere says that its way out in IPv6 is another endpoint.
	Gateway6Elsewhere bool
}

// Network is what a driver outside, or whoever gives out addresses there, has said of one
// network. Values are immutable.
type Network struct {
	ID model.NetworkID
	// Scope is how far the network reaches: "local" or "global"; empty if nobody said.
	Scope string
	// Pools are its subnets; nil if they are not for others to choose.
	Pools []model.Pool
}

// Owner implements Fact.
func (n Network) Owner() Owner { return Owner(networkPrefix + string(n.ID)) }

// Empty implements Fact.
func (n Network) Empty() bool { return n.Scope == "" && n.Pools == nil }

func (n Network) in(s Set) Set {
	s.networks = put(s.networks, string(n.ID), n)
	return s
}
