package kerneltest

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
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
		desired.Neigh{Namespace: ns, Link: "eth0", IP: netip.MustParseAddr("10.9.0.1"), MAC: "02:42:00:00:00:01"},
	}
}

// Parent is the interface of LAN, LANOwner owns its rows.
const (
	Parent   = "dm-test"
	LANOwner = desired.Owner("network/lan")
)

// LAN returns the rows of a network whose containers hang on an interface of the host.
func LAN() []desired.Row {
	return []desired.Row{
		desired.Link{Name: Parent, Type: desired.LinkDummy, MAC: "02:42:00:00:00:fe"},
		desired.Sysctl{Path: "net/ipv6/conf/" + Parent + "/disable_ipv6", Value: "1"},
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

// Attached returns the state in which Network and LAN exist and n containers are on both.
func Attached(t testing.TB, n int) desired.State {
	t.Helper()
	s := With(t, With(t, desired.State{}, NetworkOwner, Network()...), LANOwner, LAN()...)
	for i := range n {
		s = Attach(t, s, i)
	}
	return s
}

// Attach adds Sandbox(i), Endpoint(i) and Member(i).
func Attach(t testing.TB, s desired.State, i int) desired.State {
	t.Helper()
	return With(t, AttachBridged(t, s, i), MemberOwner(i), Member(i)...)
}

// Detach removes Sandbox(i), Endpoint(i) and Member(i).
func Detach(t testing.TB, s desired.State, i int) desired.State {
	t.Helper()
	return With(t, With(t, With(t, s, MemberOwner(i)), EndpointOwner(i)), SandboxOwner(i))
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
