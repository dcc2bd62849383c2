package firewall

import (
	"net"
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
)

// Attachment is a bridge port and who is behind it.
type Attachment struct {
	Port    string
	Bridge  string
	MAC     string
	Addrs   []netip.Addr
	Subnets []netip.Prefix // of the network
	Mode    desired.PortMode
}

// Port returns the policies of one bridge port. Besides the addresses that the
// engine gave, its container has the link-local one that its kernel makes of the
// MAC address (RFC 4291, appendix A), and no other: a container that could choose
// them would fill the neighbour tables of all who hear it.
func Port(a Attachment) []desired.Row {
	p := desired.PortSecurity{Port: a.Port, Bridge: a.Bridge, MAC: a.MAC, Addrs: withOwnLinkLocal(a.Addrs, a.MAC), Mode: a.Mode}
	if a.Mode != desired.PortPinned {
		p.Subnets = a.Subnets
	}
	return []desired.Row{p}
}

// Gateway is the host's end of a network, and where its containers' default route
// leads.
type Gateway struct {
	Bridge   string
	MAC      string
	Addrs    []netip.Addr // of the bridge
	Gateways []netip.Addr // of the network that are not the bridge's
}

// Behind returns the policies that keep containers from speaking for the host's
// end of their network.
func Behind(g Gateway) []desired.Row {
	return []desired.Row{desired.Identity{
		Bridge: g.Bridge, MACs: []string{g.MAC}, Addrs: withOwnLinkLocal(g.Addrs, g.MAC), Gateways: g.Gateways,
	}}
}

// withOwnLinkLocal returns addrs and the link-local address that a MAC address
// gives.
func withOwnLinkLocal(addrs []netip.Addr, mac string) []netip.Addr {
	a, ok := LinkLocalOf(mac)
	if !ok {
		return addrs
	}
	return append(append([]netip.Addr(nil), addrs...), a)
}

// LinkLocalOf returns the IPv6 link-local address that the kernel makes of a MAC
// address by itself: the modified EUI-64 of RFC 4291, appendix A. False for what
// is no MAC address.
func LinkLocalOf(mac string) (netip.Addr, bool) {
	m, err := net.ParseMAC(mac)
	if err != nil || len(m) != 6 {
		return netip.Addr{}, false
	}
	const universal = 2
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ universal, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}), true
}
