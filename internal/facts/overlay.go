package facts

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
)

// Overlay is what is known of a network that reaches over hosts: how this host takes part
// in it, and who is on it elsewhere. Values are immutable.
type Overlay struct {
	ID model.NetworkID
	// Local is the address at which this host receives the network's packets, Port the UDP
	// port. Without it the host takes no part yet.
	Local netip.Addr
	Port  uint16
	MTU   int // bytes; what a packet of the network may have
	// Tunnel is how this host takes part in an encrypted network; without it, not at all.
	Tunnel Tunnel
	// Remotes are the endpoints on other hosts, in the order of their IDs. No two have one
	// address.
	Remotes []model.Remote
	// Peers are the hosts that take part, this one included, by name.
	Peers []Peer
}

// Tunnel is this host's end of the WireGuard tunnel between the hosts, which the packets of
// encrypted networks take.
type Tunnel struct {
	Port      uint16 // UDP
	PublicKey string // model.ValidKey
	KeyFile   string // the private key is there, and nowhere else
}

// Peer is a host that takes part in a network.
type Peer struct {
	Name string
	Addr netip.Addr
}

// Owner implements Fact.
func (o Overlay) Owner() Owner { return Owner(overlayPrefix + string(o.ID)) }

// Empty implements Fact.
func (o Overlay) Empty() bool { return !o.Local.IsValid() && len(o.Remotes) == 0 }

func (o Overlay) in(s Set) Set {
	s.overlays = put(s.overlays, string(o.ID), o)
	return s
}

// Overlay returns what is known of a network that reaches over hosts, which may be nothing.
func (s Set) Overlay(id model.NetworkID) Overlay {
	if s.overlays != nil {
		if o, ok := s.overlays.Get([]byte(id)); ok {
			return o
		}
	}
	return Overlay{ID: id}
}
