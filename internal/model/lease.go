package model

import (
	"net/netip"
	"time"
)

// IPAMDHCP is the IPAM driver of networks whose addresses come from DHCP servers (RFC 2131,
// RFC 8415) and routers (RFC 4862) of the network of their parent.
const IPAMDHCP = "dhcp"

// Leased tells whether the network's addresses come from a DHCP server.
func (n Network) Leased() bool { return n.IPAM.Driver == IPAMDHCP }

// Lease is what a DHCP server has given to one endpoint. Values are never changed in
// place.
type Lease struct {
	Prefix  netip.Prefix // the address, with the length of its subnet (option 1)
	Gateway netip.Addr   // option 3, or the default route of option 121; invalid: none
	Server  netip.Addr   // in IPv6 link-local; of an address of a router's prefix, the router
	// ServerID is by which a DHCPv6 server knows that it is meant (option 2).
	ServerID []byte `json:",omitempty"`
	// Stateless says that no server has given the address: it is of a prefix that a router
	// has named.
	Stateless bool         `json:",omitempty"`
	DNS       []netip.Addr `json:",omitempty"` // option 6
	Domain    string       `json:",omitempty"` // option 15
	Search    []string     `json:",omitempty"` // option 119 (RFC 3397)
	NTP       []netip.Addr `json:",omitempty"` // option 42
	MTU       int          `json:",omitempty"` // option 26, in bytes; 0: not said
	Routes    []LeaseRoute `json:",omitempty"` // option 121 (RFC 3442), without the default route
	// From is when it was given or renewed last. At Renew its server is asked again, at
	// Rebind any server, and at Until it ends; all are zero for one without end.
	From, Renew, Rebind, Until time.Time
}

// LeaseRoute is a route that a DHCP server names. Without a gateway the destination is
// on the link.
type LeaseRoute struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// String is how ip-route(8) says it.
func (r LeaseRoute) String() string {
	if !r.Gateway.IsValid() {
		return r.Destination.String()
	}
	return r.Destination.String() + " via " + r.Gateway.String()
}

// SearchDomains are what names without dots are looked up in: those of option 119, or else
// the domain of option 15; none of nil.
func (l *Lease) SearchDomains() []string {
	switch {
	case l == nil:
		return nil
	case len(l.Search) > 0:
		return l.Search
	case l.Domain != "":
		return []string{l.Domain}
	}
	return nil
}

// Wished4 returns the IPv4 address that e is to have if it can, invalid for any, and whether
// its user asked for that.
func (e Endpoint) Wished4() (a netip.Addr, static bool) {
	if e.Asked4.IsValid() {
		return e.Asked4, true
	}
	return e.Addr4, e.Static4
}

// Lease returns what came with the address of family f; nil for nothing.
func (e Endpoint) Lease(f Family) *Lease {
	if f == IPv4 {
		return e.Lease4
	}
	return e.Lease6
}

// WithLease returns e with what it was given in family f; with nil, without, but for what
// its user asked for.
func (e Endpoint) WithLease(f Family, l *Lease) Endpoint {
	if f == IPv6 {
		if e.Lease6 = l; l == nil {
			return e.WithAddress(IPv6, netip.Addr{}, false)
		}
		return e.WithAddress(IPv6, l.Prefix.Addr(), false)
	}
	wished, static := e.Wished4()
	e.Lease4, e.Asked4 = l, netip.Addr{}
	if l != nil {
		return e.WithAddress(IPv4, l.Prefix.Addr(), static && wished == l.Prefix.Addr())
	}
	if static {
		e.Asked4 = wished
	}
	return e.WithAddress(IPv4, netip.Addr{}, false)
}
