package desired

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

// Balance spreads new connections to one place over backends. A connection that there is
// stays where it leads, and its packets keep their source.
type Balance struct {
	Namespace string
	To        Frontend
	// Backends get new connections, in equal shares. Without any, connections are refused.
	// Those of a Frontend without a port have no port.
	Backends []netip.AddrPort
	// Draining get none any more, and keep those that they have. Connections with who is in
	// neither list are forgotten.
	Draining []netip.AddrPort
	// Sticky has the address that a connection comes from decide which backend it gets, instead of whose turn it is.
	Sticky bool
	// Salt has hosts deal shares differently: else the first connection of each would go to
	// the same backend.
	Salt string
}

// Frontend is where clients connect to: an address, with all that conntrack knows of; or
// with Protocol, one port of it.
type Frontend struct {
	Addr     netip.Addr
	Protocol model.Protocol
	Port     uint16
}

// String returns "10.0.0.2", or "tcp 10.0.0.2:80".
func (f Frontend) String() string {
	if f.Protocol == "" {
		return f.Addr.String()
	}
	return string(f.Protocol) + " " + netip.AddrPortFrom(f.Addr, f.Port).String()
}

func (r Balance) Key() Key      { return key(KindBalance, where(r.Namespace), r.To.String()) }
func (r Balance) Space() string { return r.Namespace }

func (r Balance) String() string {
	s := fmt.Sprintf("balance %s %s over %s", where(r.Namespace), r.To, backends(r.Backends))
	if len(r.Draining) > 0 {
		s += " draining " + backends(r.Draining)
	}
	if r.Sticky {
		s += " by source"
	}
	return s + " salt " + r.Salt
}

func backends(all []netip.AddrPort) string {
	var words []string
	for _, b := range all {
		if b.Port() == 0 {
			words = append(words, b.Addr().String())
			continue
		}
		words = append(words, b.String())
	}
	return "[" + strings.Join(words, " ") + "]"
}

// Hairpin lets the container with an address reach itself by a Balance: its packets come
// back to it under the address that it connected to.
type Hairpin struct {
	Namespace string
	Addr      netip.Addr
}

func (r Hairpin) Key() Key      { return key(KindBalance, where(r.Namespace), "hairpin", r.Addr.String()) }
func (r Hairpin) Space() string { return r.Namespace }

func (r Hairpin) String() string {
	return fmt.Sprintf("balance %s hairpin of %s", where(r.Namespace), r.Addr)
}
