package desired

import (
	"fmt"
	"net/netip"
)

// PortMode is how far a bridge port is believed.
type PortMode string

// The modes, from the strictest on. Whatever the mode, a port has no part in an
// internal network's way out, nor in what icc=false forbids.
const (
	// PortPinned lets a port speak in its own name alone.
	PortPinned PortMode = ""
	// PortCapable lets it speak in every name but those that somebody else is known
	// to have: another port of its network, its gateway, the host. It may route and
	// serve its network.
	PortCapable PortMode = "capable"
	// PortUnchecked lets it say anything.
	PortUnchecked PortMode = "unchecked"
)

// PortSecurity ties a bridge port to one MAC address and its IP addresses; frames from
// anyone else are dropped, as far as Mode says so, and a port without PortSecurity is dead.
type PortSecurity struct {
	Port   string
	Bridge string
	MAC    string
	Addrs  []netip.Addr // link-local ones included
	Mode   PortMode
	// Subnets are those of the port's network: an address there that another port
	// is known to have is a neighbour's. They matter in PortCapable and
	// PortUnchecked.
	Subnets []netip.Prefix
}

func (r PortSecurity) Key() Key      { return key(KindPolicy, "port-security", r.Port) }
func (r PortSecurity) Space() string { return HostNamespace }

func (r PortSecurity) String() string {
	s := fmt.Sprintf("policy port-security %s on %s: %s %v", r.Port, r.Bridge, r.MAC, r.Addrs)
	if r.Mode != PortPinned {
		s += fmt.Sprintf(" mode=%s in %v", r.Mode, r.Subnets)
	}
	return s
}

// Identity is the names that no port may use, because they are the host's: of its
// end of a bridge, or with no Bridge of the host as a whole.
type Identity struct {
	Bridge string
	MACs   []string
	Addrs  []netip.Addr // of the host
	// Gateways are addresses that containers take for their gateway's though the
	// host does not have them.
	Gateways []netip.Addr
}

func (r Identity) Key() Key      { return key(KindPolicy, "identity", where(r.Bridge)) }
func (r Identity) Space() string { return HostNamespace }

func (r Identity) String() string {
	s := fmt.Sprintf("policy identity of %s %v %v", where(r.Bridge), r.MACs, r.Addrs)
	if len(r.Gateways) > 0 {
		s += fmt.Sprintf(" gateways %v", r.Gateways)
	}
	return s
}

// Elsewhere lets a bridge port use addresses that its container has on other networks:
// what it answers at one address may leave by another network, where its default route
// is (the weak host model of RFC 1122, section 3.3.4.2).
type Elsewhere struct {
	Port  string
	Addrs []netip.Addr
}

func (r Elsewhere) Key() Key      { return key(KindPolicy, "elsewhere", r.Port) }
func (r Elsewhere) Space() string { return HostNamespace }

func (r Elsewhere) String() string {
	return fmt.Sprintf("policy elsewhere of %s %v", r.Port, r.Addrs)
}
