package kerneltest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Bridge is the bridge of Network.
const Bridge = "br-test"

// NetworkOwner owns the rows of Network.
const NetworkOwner = desired.Owner("network/test")

// Network returns the rows of a bridge network with both families.
func Network() []desired.Row {
	return []desired.Row{
		desired.Link{Name: Bridge, Type: desired.LinkBridge, MTU: 1400, MAC: "02:42:00:00:00:01"},
		desired.Sysctl{Path: "net/ipv6/conf/" + Bridge + "/accept_ra", Value: "0"},
		desired.Addr{Link: Bridge, Prefix: netip.MustParsePrefix("10.9.0.1/16")},
		desired.Addr{Link: Bridge, Prefix: netip.MustParsePrefix("fd00:9::1/64")},
		desired.Fence{Link: Bridge, Localhost: true},
		desired.Rule{Link: Bridge, IPv4: true, IPv6: true},
		desired.Loopback{Packets: 196608},
	}
}

// SandboxOwner owns the rows of Sandbox(i).
func SandboxOwner(i int) desired.Owner { return desired.Owner(fmt.Sprintf("sandbox/%d", i)) }

// Space is the namespace of Sandbox(i).
func Space(i int) string { return fmt.Sprintf("space%d", i) }

// Sandbox returns the rows of a container's namespace.
func Sandbox(i int) []desired.Row {
	return []desired.Row{
		desired.Namespace{Name: Space(i)},
		desired.Sysctl{Namespace: Space(i), Path: "net/ipv6/conf/default/accept_dad", Value: "0"},
	}
}

// EndpointOwner owns the rows of Endpoint(i).
func EndpointOwner(i int) desired.Owner { return desired.Owner(fmt.Sprintf("endpoint/%d", i)) }

// Port is the host's end of Endpoint(i).
func Port(i int) string { return fmt.Sprintf("vethtest%d", i) }

// Endpoint returns the rows of a container's membership of Network: a veth pair,
// addresses and default routes of both families, a neighbour.
func Endpoint(i int) []desired.Row {
	ns, port := Space(i), Port(i)
	a4 := netip.AddrFrom4([4]byte{10, 9, byte(1 + i/250), byte(1 + i%250)})
	a6 := netip.MustParseAddr(fmt.Sprintf("fd00:9::%x", 0x100+i))
	return []desired.Row{
		desired.Link{
			Name: port, Type: desired.LinkVeth, MTU: 1400, Master: Bridge, Group: desired.PortGroup,
			Peer: &desired.Peer{Namespace: ns, Name: "eth0", MAC: fmt.Sprintf("02:42:00:00:%02x:%02x", 1+i/250, 1+i%250)},
		},
		desired.Sysctl{Path: "net/ipv6/conf/" + port + "/disable_ipv6", Value: "1"},
		desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/eth0/disable_ipv6", Value: "0"},
		desired.Addr{Namespace: ns, Link: "eth0", Prefix: netip.PrefixFrom(a4, 16)},
		desired.Addr{Namespace: ns, Link: "eth0", Prefix: netip.PrefixFrom(a6, 64)},
		desired.Route{Namespace: ns, Link: "eth0", Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1")},
		desired.Route{Namespace: ns, Link: "eth0", Destination: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr("fd00:9::1")},
		desired.Route{Namespace: ns, Table: desired.AnswerTable, Link: "eth0", Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.0.1")},
		desired.Lookup{Namespace: ns, Family: model.IPv4, From: netip.MustParseAddr("192.0.2.1"), Table: desired.AnswerTable},
		desired.Lookup{Namespace: ns, Family: model.IPv6, Mark: 1 << 31, Table: 1 << 31},
		desired.Lookup{Namespace: ns, Family: model.IPv4, Protocol: model.UDP, Port: 53},
		desired.Lookup{Namespace: ns, Family: model.IPv4, Protocol: model.UDP, Port: 53, Table: desired.AnswerTable},
		desired.Neigh{Namespace: ns, Link: "eth0", IP: netip.MustParseAddr("10.9.0.1"), MAC: "02:42:00:00:00:01"},
	}
}

// Uplink is an interface of the host that is the uplink of LAN's bridge, Outlet.
const (
	Uplink = "uplink0"
	Outlet = "br-outlet"
)

// Parent is the interface of LAN, LANOwner owns its rows.
const (
	Parent   = "dm-test"
	LANOwner = desired.Owner("network/lan")
)

// LAN returns the rows of a network whose containers hang on an interface of the host, and
// a bridge that has another for its uplink.
func LAN() []desired.Row {
	return []desired.Row{
		desired.Link{Name: Parent, Type: desired.LinkDummy, MAC: "02:42:00:00:00:fe"},
		desired.Sysctl{Path: "net/ipv6/conf/" + Parent + "/disable_ipv6", Value: "1"},
		desired.Link{Name: Outlet, Type: desired.LinkBridge, MAC: "02:42:00:00:00:fd"},
		desired.Fence{Link: Outlet, Closed: true},
		desired.Uplink{Link: Uplink, Bridge: Outlet},
	}
}

// MemberOwner owns the rows of Member(i).
func MemberOwner(i int) desired.Owner { return desired.Owner(fmt.Sprintf("endpoint/lan%d", i)) }

// Member returns the rows of a container's membership of LAN: a macvlan with addresses
// of both families.
func Member(i int) []desired.Row {
	ns := Space(i)
	return []desired.Row{
		desired.Link{
			Namespace: ns, Name: "lan0", Type: desired.LinkMacvlan, MAC: fmt.Sprintf("02:42:00:01:%02x:%02x", i/250, 1+i%250),
			Parent: &desired.Parent{Name: Parent, Mode: "bridge"},
		},
		desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/lan0/accept_dad", Value: "1"},
		desired.Addr{Namespace: ns, Link: "lan0", Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 8, byte(i / 250), byte(1 + i%250)}), 16)},
		desired.Addr{Namespace: ns, Link: "lan0", Prefix: netip.MustParsePrefix(fmt.Sprintf("fd00:8::%x/64", 0x100+i)), Detect: true},
		desired.Route{Namespace: ns, Link: "lan0", Destination: netip.MustParsePrefix("10.88.0.0/16")},
	}
}

// Overlay is the namespace of a network that reaches over hosts, Tunnel its VXLAN there;
// OverlayOwner owns its rows.
const (
	Overlay      = "ov-test"
	Tunnel       = "vx4097"
	OverlayOwner = desired.Owner("network/overlay")
)

// Hosts returns the rows of a network that reaches over hosts: a namespace with a VXLAN,
// from which one container on another host is reached.
func Hosts() []desired.Row {
	return []desired.Row{
		desired.Namespace{Name: Overlay},
		desired.Link{
			Namespace: Overlay, Name: Tunnel, Type: desired.LinkVXLAN, MTU: 1450, MAC: "02:42:00:02:00:01",
			VXLAN: &desired.VXLAN{ID: 4097, Port: 4789, Local: netip.MustParseAddr("192.0.2.1")},
		},
		desired.Sysctl{Namespace: Overlay, Path: "net/ipv4/ip_forward", Value: "1"},
		desired.Addr{Namespace: Overlay, Link: Tunnel, Prefix: netip.MustParsePrefix("10.7.0.1/16")},
		desired.FDB{Namespace: Overlay, Link: Tunnel, MAC: "02:42:00:02:00:02", Remote: netip.MustParseAddr("192.0.2.2")},
		desired.Neigh{Namespace: Overlay, Link: Tunnel, IP: netip.MustParseAddr("10.7.9.9"), MAC: "02:42:00:02:00:02"},
		desired.Balance{
			Namespace: Overlay, To: desired.Frontend{Addr: netip.MustParseAddr("10.7.9.1")}, Salt: "192.0.2.1",
			Backends: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("10.7.9.9"), 0)},
		},
	}
}

// Secret is the namespace by which the packets of an encrypted network leave, SecretOverlay
// that network's own, TunnelLink the interface that encrypts.
const (
	Secret        = "ov-secret"
	SecretOverlay = "ov-test2"
	TunnelLink    = "wg-test"
	SecretOwner   = desired.Owner("tunnel")
)

// Encrypted returns the rows of an encrypted network that reaches over hosts, and of its
// tunnel.
func Encrypted() []desired.Row {
	return []desired.Row{
		desired.Namespace{Name: Secret},
		desired.Link{Namespace: Secret, Name: TunnelLink, Type: desired.LinkWireGuard, MTU: 1440},
		desired.Addr{Namespace: Secret, Link: TunnelLink, Prefix: netip.MustParsePrefix("192.0.2.1/32")},
		desired.Route{Namespace: Secret, Link: TunnelLink, Destination: netip.MustParsePrefix("0.0.0.0/0")},
		desired.Namespace{Name: SecretOverlay},
		desired.Link{
			Namespace: SecretOverlay, Name: "vx4098", Type: desired.LinkVXLAN, MTU: 1390, MAC: "02:42:00:02:00:01",
			VXLAN: &desired.VXLAN{ID: 4098, Port: 4789, Local: netip.MustParseAddr("192.0.2.1"), Home: Secret},
		},
		desired.Addr{Namespace: SecretOverlay, Link: "vx4098", Prefix: netip.MustParsePrefix("10.6.0.1/16")},
	}
}

// PlaceOwner owns the rows of Place(i).
func PlaceOwner(i int) desired.Owner { return desired.Owner(fmt.Sprintf("endpoint/overlay%d", i)) }

// Place returns the rows of a container's membership of Hosts: a veth pair into its
// namespace, and the way to it there.
func Place(i int) []desired.Row {
	ns, end := Space(i), fmt.Sprintf("vethover%d", i)
	a := netip.AddrFrom4([4]byte{10, 7, byte(1 + i/250), byte(1 + i%250)})
	return []desired.Row{
		desired.Link{
			Namespace: Overlay, Name: end, Type: desired.LinkVeth, MTU: 1450,
			Peer: &desired.Peer{Namespace: ns, Name: "over0", MAC: fmt.Sprintf("02:42:00:03:%02x:%02x", i/250, 1+i%250)},
		},
		desired.Sysctl{Namespace: Overlay, Path: "net/ipv4/conf/" + end + "/proxy_arp", Value: "1"},
		desired.Sysctl{Namespace: Overlay, Path: "net/ipv4/neigh/" + end + "/proxy_delay", Value: "0"},
		desired.Addr{Namespace: ns, Link: "over0", Prefix: netip.PrefixFrom(a, 16)},
		desired.Route{Namespace: Overlay, Link: end, Destination: netip.PrefixFrom(a, 32)},
		desired.Hairpin{Namespace: Overlay, Addr: a},
	}
}

// With returns the state in which owner wants rows.
func With(t testing.TB, s desired.State, owner desired.Owner, rows ...desired.Row) desired.State {
	t.Helper()
	out, err := s.Replace(owner, rows)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Bridged returns the state in which Network exists and n endpoints are on it.
func Bridged(t testing.TB, n int) desired.State {
	t.Helper()
	s := With(t, desired.State{}, NetworkOwner, Network()...)
	for i := range n {
		s = AttachBridged(t, s, i)
	}
	return s
}

// AttachBridged adds Sandbox(i) and Endpoint(i).
func AttachBridged(t testing.TB, s desired.State, i int) desired.State {
	t.Helper()
	return With(t, With(t, s, SandboxOwner(i), Sandbox(i)...), EndpointOwner(i), Endpoint(i)...)
}

// Attached returns the state in which Network, LAN, Hosts and Encrypted exist and n containers
// are on the first three.
func Attached(t testing.TB, n int) desired.State {
	t.Helper()
	s := With(t, With(t, desired.State{}, NetworkOwner, Network()...), LANOwner, LAN()...)
	s = With(t, With(t, s, OverlayOwner, Hosts()...), SecretOwner, Encrypted()...)
	for i := range n {
		s = Attach(t, s, i)
	}
	return s
}

// Attach adds Sandbox(i), Endpoint(i), Member(i) and Place(i).
func Attach(t testing.TB, s desired.State, i int) desired.State {
	t.Helper()
	return With(t, With(t, AttachBridged(t, s, i), MemberOwner(i), Member(i)...), PlaceOwner(i), Place(i)...)
}

// Detach removes Sandbox(i), Endpoint(i), Member(i) and Place(i).
func Detach(t testing.TB, s desired.State, i int) desired.State {
	t.Helper()
	return With(t, With(t, With(t, With(t, s, PlaceOwner(i)), MemberOwner(i)), EndpointOwner(i)), SandboxOwner(i))
}

// Diff returns what turns prev into next, whoever owns it.
func Diff(prev, next desired.State) []desired.Delta {
	owners := map[desired.Owner]bool{}
	for _, s := range []desired.State{prev, next} {
		for o := range s.Owners() {
			owners[o] = true
		}
	}
	var all []desired.Owner
	for o := range owners {
		all = append(all, o)
	}
	return desired.Diff(prev, next, all)
}
