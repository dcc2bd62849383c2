package kernel_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// rowsOwner owns every row of TestRows.
const rowsOwner = desired.Owner("network/n")

// rowCase is what a person sees of some rows with the tools of the host.
type rowCase struct {
	name      string
	rows      []desired.Row
	namespace string
	command   string
	want      []string // each must be in what the command prints
}

func rowCases() []rowCase {
	bridge := desired.Link{Name: "br0", Type: desired.LinkBridge, MTU: 1400, MAC: "02:42:AB:00:00:01"}
	space := desired.Namespace{Name: "c1"}
	veth := desired.Link{
		Name: "veth1", Type: desired.LinkVeth, MTU: 1400, Master: "br0", Group: desired.PortGroup,
		Peer: &desired.Peer{Namespace: "c1", Name: "eth0", MAC: "02:42:ac:11:00:02"},
	}
	tunnel := desired.Link{
		Namespace: "c1", Name: "vx4097", Type: desired.LinkVXLAN, MTU: 1450, MAC: "02:42:0A:00:00:01",
		VXLAN: &desired.VXLAN{ID: 4097, Port: 4789, Local: netip.MustParseAddr("192.0.2.1")},
	}
	onBridge := desired.Addr{Link: "br0", Prefix: netip.MustParsePrefix("172.17.0.1/16")}
	return []rowCase{
		{"bridge", []desired.Row{bridge}, "", "ip -j -d link show br0",
			[]string{`"info_kind":"bridge"`, `"address":"02:42:ab:00:00:01"`, `"mtu":1400`, `"UP"`, `"ifalias":"linkspan:test0:network/n"`}},
		{"namespace", []desired.Row{space}, "c1", "ip -j link show lo",
			[]string{`"UP"`, `"ifalias":"linkspan:test0:network/n"`}},
		{"host end", []desired.Row{bridge, space, veth}, "", "ip -j -d link show veth1",
			[]string{`"info_kind":"veth"`, `"master":"br0"`, `"group":"27763"`, `"mtu":1400`, `"qdisc":"noqueue"`, `"LOWER_UP"`, `"ifalias":"linkspan:test0:network/n"`}},
		{"container end", []desired.Row{bridge, space, veth}, "c1", "ip -j -d link show eth0",
			[]string{`"address":"02:42:ac:11:00:02"`, `"mtu":1400`, `"qdisc":"noqueue"`, `"LOWER_UP"`}},
		{"IPv4 address", []desired.Row{bridge, onBridge}, "", "ip addr show br0",
			[]string{"inet 172.17.0.1/16 brd 172.17.255.255 scope global br0"}},
		{"IPv6 address", []desired.Row{bridge, desired.Addr{Link: "br0", Prefix: netip.MustParsePrefix("fd00::1/64")}}, "", "ip addr show br0",
			[]string{"inet6 fd00::1/64 scope global nodad"}},
		{"IPv6 link-local address", []desired.Row{bridge, desired.Addr{Link: "br0", Prefix: netip.MustParsePrefix("fe80::1/64")}}, "", "ip addr show br0",
			[]string{"inet6 fe80::1/64 scope link nodad"}},
		{"address of one host", []desired.Row{bridge, desired.Addr{Link: "br0", Prefix: netip.MustParsePrefix("10.1.1.1/32")}}, "", "ip addr show br0",
			[]string{"inet 10.1.1.1/32 scope global br0"}},
		{"default route", []desired.Row{bridge, space, veth,
			desired.Addr{Namespace: "c1", Link: "eth0", Prefix: netip.MustParsePrefix("172.17.0.2/16")},
			desired.Route{Namespace: "c1", Link: "eth0", Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("172.17.0.1")},
		}, "c1", "ip route show proto 0x6c", []string{"default via 172.17.0.1 dev eth0"}},
		{"route on the link", []desired.Row{bridge, onBridge,
			desired.Route{Link: "br0", Destination: netip.MustParsePrefix("10.99.0.0/24")},
		}, "", "ip route show proto 0x6c", []string{"10.99.0.0/24 dev br0 scope link"}},
		{"IPv6 route", []desired.Row{bridge,
			desired.Route{Link: "br0", Destination: netip.MustParsePrefix("fd01::/64"), Gateway: netip.MustParseAddr("fe80::9")},
		}, "", "ip -6 route show proto 0x6c", []string{"fd01::/64 via fe80::9 dev br0"}},
		{"neighbour", []desired.Row{bridge, onBridge,
			desired.Neigh{Link: "br0", IP: netip.MustParseAddr("172.17.0.9"), MAC: "02:42:AC:11:00:09"},
		}, "", "ip neigh show dev br0", []string{"172.17.0.9 lladdr 02:42:ac:11:00:09 PERMANENT", "proto 108"}},
		{"IPv6 neighbour", []desired.Row{bridge,
			desired.Neigh{Link: "br0", IP: netip.MustParseAddr("fd00::9"), MAC: "02:42:ac:11:00:09"},
		}, "", "ip neigh show dev br0", []string{"fd00::9 lladdr 02:42:ac:11:00:09 PERMANENT"}},
		{"VXLAN", []desired.Row{space, tunnel}, "c1", "ip -j -d link show vx4097",
			[]string{`"info_kind":"vxlan"`, `"id":4097`, `"local":"192.0.2.1"`, `"port":4789`, `"learning":false`, `"mtu":1450`, `"link_netnsid"`, `"UP"`, `"ifalias":"linkspan:test0:network/n"`}},
		{"VXLAN over IPv6", []desired.Row{space, desired.Link{
			Namespace: "c1", Name: "vx4098", Type: desired.LinkVXLAN, VXLAN: &desired.VXLAN{ID: 4098, Port: 4790, Local: netip.MustParseAddr("2001:db8::1")},
		}}, "c1", "ip -j -d link show vx4098", []string{`"local6":"2001:db8::1"`, `"port":4790`}},
		{"way to another host", []desired.Row{space, tunnel,
			desired.FDB{Namespace: "c1", Link: "vx4097", MAC: "02:42:0a:00:00:02", Remote: netip.MustParseAddr("192.0.2.2")},
		}, "c1", "bridge fdb show dev vx4097", []string{"02:42:0a:00:00:02 dst 192.0.2.2 ", "self permanent"}},
		{"sysctl of the host", []desired.Row{desired.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}}, "",
			"cat /proc/sys/net/ipv4/ip_forward", []string{"1"}},
		{"sysctl of a container", []desired.Row{space, desired.Sysctl{Namespace: "c1", Path: "net/ipv4/ip_local_port_range", Value: "2000 3000"}}, "c1",
			"cat /proc/sys/net/ipv4/ip_local_port_range", []string{"2000\t3000"}},
	}
}

func TestRows(t *testing.T) {
	for _, c := range rowCases() {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			want := kerneltest.With(t, desired.State{}, rowsOwner, c.rows...)
			l.apply(t, desired.State{}, want)
			got := l.sh(t, c.namespace, c.command)
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("%s prints\n%s\nwithout %s", c.command, got, w)
				}
			}
			before := l.Writes()
			l.apply(t, desired.State{}, want)
			if n := l.Writes() - before; n != 0 {
				t.Errorf("%d writes when applied again", n)
			}
		})
	}
}

// TestAddressesOfOneSubnet removes the first of two addresses in one subnet,
// which makes the kernel drop the second as well.
func TestAddressesOfOneSubnet(t *testing.T) {
	l := newLab(t)
	rows := kerneltest.Network()
	second := desired.Addr{Link: kerneltest.Bridge, Prefix: netip.MustParsePrefix("10.9.0.2/16")}
	both := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, append(rows, second)...)
	l.apply(t, desired.State{}, both)
	one := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, rows[0], rows[1], rows[3], second)
	l.apply(t, both, one)
	if got := l.sh(t, "", "ip -4 -br addr show "+kerneltest.Bridge); !strings.HasSuffix(got, "10.9.0.2/16") || strings.Contains(got, "10.9.0.1/16") {
		t.Errorf("addresses: %s", got)
	}
}

// TestBridgeKeepsMTU sees to it that a bridge does not forget its MTU when its
// last port leaves.
func TestBridgeKeepsMTU(t *testing.T) {
	l := newLab(t)
	full, empty := kerneltest.Attached(t, 1), kerneltest.Attached(t, 0)
	l.apply(t, desired.State{}, full)
	l.apply(t, full, empty)
	if got := l.sh(t, "", "ip link show "+kerneltest.Bridge); !strings.Contains(got, "mtu 1400") {
		t.Error(got)
	}
}

// TestEndpointsReachEachOther sends real packets, both families.
func TestEndpointsReachEachOther(t *testing.T) {
	l := newLab(t)
	l.apply(t, desired.State{}, kerneltest.Attached(t, 2))
	for _, address := range []string{"10.9.0.1", "10.9.1.2", "fd00:9::1", "fd00:9::101"} {
		l.sh(t, kerneltest.Space(0), "ping -c1 -w5 "+address)
	}
}

// TestSwitchNetworks leaves one network and joins another in one pass, under the
// same name inside.
func TestSwitchNetworks(t *testing.T) {
	l := newLab(t)
	before := kerneltest.Attached(t, 1)
	l.apply(t, desired.State{}, before)
	rows := kerneltest.Endpoint(0)
	port := rows[0].(desired.Link)
	port.Name = "vethother"
	var other []desired.Row
	for _, r := range rows {
		if r.Key() == rows[1].Key() {
			r = desired.Sysctl{Path: "net/ipv6/conf/vethother/disable_ipv6", Value: "1"}
		}
		other = append(other, r)
	}
	other[0] = port
	after := kerneltest.With(t, kerneltest.With(t, before, kerneltest.EndpointOwner(0)), "endpoint/other", other...)
	l.apply(t, before, after)
	if r, err := l.Resync(t.Context(), after); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("resync: %+v, %v", r, err)
	}
	l.sh(t, kerneltest.Space(0), "ping -c1 -w5 10.9.0.1")
}
