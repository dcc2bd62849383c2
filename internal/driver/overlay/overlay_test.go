package overlay

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func network() model.Network {
	return model.Network{
		ID: "abcdefghijklmnopqrstuvwxy", Name: "ov", Driver: model.DriverOverlay, IPv4: true, IPv6: true, Options: map[string]string{OptionVNIs: "4097,4098"},
		IPAM: model.IPAM{Pools: []model.Pool{
			{Subnet: netip.MustParsePrefix("10.0.1.0/24"), Gateway: netip.MustParseAddr("10.0.1.1")},
			{Subnet: netip.MustParsePrefix("fd00:1::/64")},
		}},
	}
}

func remote(id, vtep string, addrs ...string) model.Remote {
	r := model.Remote{Endpoint: model.EndpointID(id), Node: "node-" + vtep, VTEP: netip.MustParseAddr(vtep), Names: []string{id, "any"}}
	for _, a := range addrs {
		r.Addrs = append(r.Addrs, netip.MustParseAddr(a))
	}
	return r
}

func view(remotes ...model.Remote) driver.View {
	return driver.View{Network: network(), Overlay: facts.Overlay{
		ID: network().ID, Local: netip.MustParseAddr("192.0.2.1"), Port: 4789, MTU: 1450, Remotes: remotes,
	}}
}

// plan returns rows as text; no two of them may be about one thing.
func plan(t *testing.T, v driver.View) []string {
	t.Helper()
	rows, err := Driver{}.Plan(v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (desired.State{}).Replace("network/n", rows); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, r.String())
	}
	return out
}

func of(kind string, lines []string) (out []string) {
	for _, l := range lines {
		if strings.HasPrefix(l, kind+" ") {
			out = append(out, l)
		}
	}
	return out
}

// TestRemotes: a way to each container elsewhere, one to each host, and none to what is
// not of the network's subnets, or is said to be here.
func TestRemotes(t *testing.T) {
	got := plan(t, view(
		remote("two", "192.0.2.2", "10.0.1.12", "fd00:1::12"), remote("three", "192.0.2.2", "10.0.1.13"),
		remote("four", "192.0.2.4", "10.0.1.14", "10.99.0.1"), remote("here", "192.0.2.1", "10.0.1.15")))
	two, four := MAC(netip.MustParseAddr("192.0.2.2")), MAC(netip.MustParseAddr("192.0.2.4"))
	if two == four || two == MAC(netip.MustParseAddr("192.0.2.1")) {
		t.Fatal("hosts have one MAC address")
	}
	name := link(4097, view().Overlay, "")
	if other := view().Overlay; len(link(1<<24-1, other, "")) > 15 || func() bool { other.Port++; return link(4097, other, "") == name }() {
		t.Errorf("%s is too long, or another's", name)
	}
	at := "ov-abcdefghijkl " + name + " "
	for kind, want := range map[string][]string{
		"link":  {"link " + at + "type vxlan mac " + MAC(netip.MustParseAddr("192.0.2.1")) + " mtu 1450 id 4097 local 192.0.2.1 dstport 4789"},
		"addr":  {"addr " + at + "10.0.1.1/24"},
		"route": {"route ov-abcdefghijkl fd00:1::/64 dev " + name},
		"fdb":   {"fdb " + at + two + " dst 192.0.2.2", "fdb " + at + four + " dst 192.0.2.4"},
		"neigh": {
			"neigh " + at + "10.0.1.12 lladdr " + two, "neigh " + at + "fd00:1::12 lladdr " + two, "neigh " + at + "10.0.1.13 lladdr " + two,
			"neigh " + at + "10.0.1.14 lladdr " + four,
		},
	} {
		if lines := of(kind, got); !slices.Equal(lines, want) {
			t.Errorf("%s\n%s", kind, strings.Join(lines, "\n"))
		}
	}
	if n := len(of("name", got)); n != 8 {
		t.Errorf("%d names", n)
	}
}

// TestWithoutTheOthers: before it is known by which address a host takes part, its own
// containers are on the network already.
func TestWithoutTheOthers(t *testing.T) {
	v := view()
	v.Overlay = facts.Overlay{}
	got := plan(t, v)
	if len(of("namespace", got)) != 1 || len(of("link", got)) != 0 {
		t.Error(strings.Join(got, "\n"))
	}
}

func TestEndpoint(t *testing.T) {
	v := view()
	v.Sandbox = model.Sandbox{Container: "0123456789abcdef", Generation: 1}
	v.Endpoint = &model.Endpoint{
		ID: "e", Interface: "eth0", MAC: "02:42:0a:00:01:0a", Addr4: netip.MustParseAddr("10.0.1.10"), Addr6: netip.MustParseAddr("fd00:1::10"),
	}
	got := plan(t, v)
	end := HostEnd(*v.Endpoint, 1)
	for _, want := range []string{
		"link ov-abcdefghijkl " + end + " type veth mtu 1450 peer 0123456789ab eth0 mac 02:42:0a:00:01:0a",
		"sysctl ov-abcdefghijkl net/ipv4/conf/" + end + "/proxy_arp = 1",
		"sysctl ov-abcdefghijkl net/ipv4/conf/" + end + "/rp_filter = 1",
		"route ov-abcdefghijkl 10.0.1.10/32 dev " + end,
		"addr 0123456789ab eth0 10.0.1.10/24",
		"addr 0123456789ab eth0 fd00:1::10/128",
		"route 0123456789ab fd00:1::/64 dev eth0 via fe80::1",
		"addr ov-abcdefghijkl " + end + " fe80::1/64",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestValidate(t *testing.T) {
	if err := (Driver{}).Validate(network(), slices.Values([]model.Network{})); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "0", "x", "16777216", "-1"} {
		n := network()
		n.Options = map[string]string{OptionVNIs: bad}
		if err := (Driver{}).Validate(n, nil); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// member is a task of a service on a host that is ready or not.
func member(service string, ready bool, addr string, vips ...string) driver.Member {
	m := driver.Member{Endpoint: model.EndpointID(addr), Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Serving: ready}
	if service != "" {
		m.Service = &model.ServiceEndpoint{Service: service, Name: service}
		for _, vip := range vips {
			m.Service.VIPs = append(m.Service.VIPs, netip.MustParseAddr(vip))
		}
	}
	return m
}

// TestServices: who is ready gets connections, who is not keeps what it has; an address that
// two services say is that of the one which is ready; and what is no address of the network
// is nobody's.
func TestServices(t *testing.T) {
	v := view()
	v.Members = []driver.Member{
		member("", false, "10.0.1.2"),
		member("b", true, "10.0.1.12", "10.0.1.200"), member("b", true, "10.0.1.11", "10.0.1.200"), member("b", false, "10.0.1.13", "10.0.1.200"),
		member("a", false, "10.0.1.14", "10.0.1.200"),
		member("c", false, "10.0.1.15", "10.0.1.201", "192.0.2.7"),
		member("d", true, "fd00:1::16", "10.0.1.202", "fd00:1::202"),
		member("e", true, "10.0.1.17"),
	}
	at := "balance ov-abcdefghijkl "
	want := []string{
		at + "10.0.1.200 over [10.0.1.11 10.0.1.12] draining [10.0.1.13] salt 192.0.2.1",
		at + "10.0.1.201 over [] draining [10.0.1.15] salt 192.0.2.1",
		at + "10.0.1.202 over [] salt 192.0.2.1",
		at + "fd00:1::202 over [fd00:1::16] salt 192.0.2.1",
	}
	if got := of("balance", plan(t, v)); !slices.Equal(got, want) {
		t.Error(strings.Join(got, "\n"))
	}
	v.Network.Ingress = true
	if got := of("balance", plan(t, v)); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, " over ") }) {
		t.Errorf("on the network for published ports: %v", got)
	}
}

// TestNames: a service's names stand for its address while there is a member, and for the
// members that are ready; a member's own yield to them.
func TestNames(t *testing.T) {
	n := network()
	m := member("shop", true, "10.0.1.12", "10.0.1.200")
	m.Service.Aliases, m.Names = []string{"store"}, []string{"shop.1.x", "shop"}
	text := func(m driver.Member, n model.Network) (out []string) {
		for _, r := range m.NameRows(n) {
			row := r.(desired.Name)
			line := row.Name + " " + row.Addrs[0].String()
			if row.Primary {
				line += " primary"
			}
			out = append(out, line)
		}
		return out
	}
	ready := []string{"shop 10.0.1.200", "tasks.shop 10.0.1.12", "store 10.0.1.200", "tasks.store 10.0.1.12", "shop.1.x 10.0.1.12 primary"}
	if got := text(m, n); !slices.Equal(got, ready) {
		t.Errorf("ready: %v", got)
	}
	m.Serving = false
	if got := text(m, n); !slices.Equal(got, []string{ready[0], ready[2], ready[4]}) {
		t.Errorf("not ready: %v", got)
	}
	m.Service.VIPs = nil
	if got := text(m, n); !slices.Equal(got, []string{ready[4], "shop 10.0.1.12"}) {
		t.Errorf("not ready, without an address: %v", got)
	}
	m.Serving = true
	if got := text(m, n); len(got) != 5 || got[0] != "shop 10.0.1.12" || got[1] != "tasks.shop 10.0.1.12" {
		t.Errorf("without an address: %v", got)
	}
	n.Ingress = true
	if got := text(m, n); len(got) > 0 {
		t.Errorf("on the network for published ports: %v", got)
	}
}
