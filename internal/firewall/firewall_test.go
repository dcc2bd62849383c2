package firewall

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

func addr(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(text)
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func TestNetwork(t *testing.T) {
	out := []Masquerade{{Subnet: prefix("10.1.0.9/24")}, {Subnet: prefix("fd01::/64"), Source: addr("2001:db8::7")}}
	for _, c := range []struct {
		name   string
		border Border
		want   []desired.Row
	}{
		{"open within", Border{Bridge: "br-a", ICC: true, Masquerade: out}, []desired.Row{
			desired.BridgePolicy{Bridge: "br-a", ICC: true},
			desired.Masquerade{Bridge: "br-a", Subnet: prefix("10.1.0.0/24")},
			desired.Masquerade{Bridge: "br-a", Subnet: prefix("fd01::/64"), Source: addr("2001:db8::7")},
		}},
		{"containers apart", Border{Bridge: "br-q"}, []desired.Row{desired.BridgePolicy{Bridge: "br-q"}}},
		{"open to direct routing", Border{Bridge: "br-d", Direct: []model.Family{model.IPv6}}, []desired.Row{
			desired.BridgePolicy{Bridge: "br-d", Direct6: true},
		}},
		{"internal: not even then", Border{Bridge: "br-d", Internal: true, Direct: model.Families[:]}, []desired.Row{
			desired.BridgePolicy{Bridge: "br-d", Internal: true},
		}},
		{"internal: no way out", Border{Bridge: "br-i", Internal: true, ICC: true, Masquerade: out}, []desired.Row{
			desired.BridgePolicy{Bridge: "br-i", Internal: true, ICC: true},
		}},
	} {
		if got := Network(c.border); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestFence(t *testing.T) {
	subnets := []netip.Prefix{prefix("10.1.0.0/24"), prefix("fd01::/64")}
	inside := Fence(Border{Bridge: "br-i", Internal: true, IPv4: true, Subnets: subnets})
	if inside.Localhost || !slices.Equal(inside.Inside, subnets) {
		t.Errorf("an internal network: %+v", inside)
	}
	outside := Fence(Border{Bridge: "br-a", IPv4: true, Subnets: subnets})
	if !outside.Localhost || outside.Inside != nil {
		t.Errorf("another with IPv4: %+v", outside)
	}
	if six := Fence(Border{Bridge: "br-a", Subnets: subnets}); six.Localhost || six.Inside != nil {
		t.Errorf("another without IPv4: %+v", six)
	}
}

// TestHost: a host that routes for us alone drops what is foreign, in the families in
// which we made a router of it; and its own addresses are nobody else's.
func TestHost(t *testing.T) {
	for _, c := range []struct {
		host model.Host
		want []desired.Row
	}{
		{model.Host{}, nil},
		{model.Host{Forwarding4: true}, []desired.Row{desired.ForwardDrop{IPv4: true}}},
		{model.Host{Forwarding6: true}, []desired.Row{desired.ForwardDrop{IPv6: true}}},
		{model.Host{Forwarding4: true, Forwarding6: true, Router: true}, nil},
		{model.Host{Forward4: true, Forward6: true}, nil}, // it was a router before
	} {
		if got := Host(c.host, facts.Host{}, Settings{}); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.host, got, c.want)
		}
	}
	rows := Host(model.Host{}, facts.Host{Addrs: []netip.Addr{addr("192.0.2.1")}, MACs: []string{"02:00:00:00:ff:01"}}, Settings{})
	id, ok := rows[0].(desired.Identity)
	if !ok || len(rows) != 1 || id.Bridge != "" || !slices.Equal(id.Addrs, []netip.Addr{addr("192.0.2.1"), addr("fe80::ff:fe00:ff01")}) {
		t.Errorf("identity: %+v", rows)
	}
}

// TestMark: what an administrator marks is let in once for the whole host.
func TestMark(t *testing.T) {
	mark := desired.AcceptMark{Mark: 7, Mask: 15}
	if got := Host(model.Host{}, facts.Host{}, Settings{Accept: &mark}); !slices.Equal(got, []desired.Row{mark}) {
		t.Errorf("%v", got)
	}
}

func TestLinkLocalOf(t *testing.T) {
	for mac, want := range map[string]string{
		"02:42:ac:11:00:02": "fe80::42:acff:fe11:2", "00:00:00:00:00:00": "fe80::200:ff:fe00:0",
	} {
		if got, ok := LinkLocalOf(mac); !ok || got != addr(want) {
			t.Errorf("%s: %s, want %s", mac, got, want)
		}
	}
	for _, mac := range []string{"", "nonsense", "02:42:ac:11:00:02:00:00"} {
		if got, ok := LinkLocalOf(mac); ok {
			t.Errorf("%q: %s", mac, got)
		}
	}
}

// TestPort: besides what it was given, a container has the link-local address of its
// MAC address; only one that may choose needs to know its subnets.
func TestPort(t *testing.T) {
	a := Attachment{Port: "veth1", Bridge: "br-a", MAC: "02:42:ac:11:00:02", Addrs: []netip.Addr{addr("10.1.0.2")}, Subnets: []netip.Prefix{prefix("10.1.0.0/24")}}
	for mode, subnets := range map[desired.PortMode]int{desired.PortPinned: 0, desired.PortCapable: 1, desired.PortUnchecked: 1} {
		a.Mode = mode
		pin, _ := Port(a)[0].(desired.PortSecurity)
		if pin.Mode != mode || len(pin.Subnets) != subnets || !slices.Equal(pin.Addrs, []netip.Addr{addr("10.1.0.2"), addr("fe80::42:acff:fe11:2")}) {
			t.Errorf("mode %q: %+v", mode, pin)
		}
	}
	if len(a.Addrs) != 1 {
		t.Error("the caller's addresses were changed")
	}
}

func TestPublished(t *testing.T) {
	binding := func(host string, first uint16) model.PortBinding {
		return model.PortBinding{Protocol: model.TCP, Container: model.Port(80), Host: addr(host), HostFirst: first}
	}
	both := Publication{Bridge: "br-a", To4: addr("10.1.0.2"), To6: addr("fd01::2")}
	only4 := Publication{Bridge: "br-a", To4: addr("10.1.0.2")}
	with := func(p Publication, ports ...model.PortBinding) Publication {
		p.Ports = ports
		return p
	}
	direct, trusted := with(both, binding("0.0.0.0", 8080)), with(both, binding("0.0.0.0", 8080))
	direct.Direct, trusted.Trusted = true, []string{"eth1"}
	for _, c := range []struct {
		name string
		p    Publication
		want string // kinds of rows
	}{
		{"every address, IPv4", with(both, binding("0.0.0.0", 8080)), "Publish Reserve"},
		{"every address, IPv6", with(both, binding("::", 8080)), "Publish Reserve Forward"}, // link-local addresses
		{"one address", with(both, binding("192.0.2.1", 8080)), "Publish Reserve"},
		{"::1", with(both, binding("::1", 8080)), "Forward Reserve"},
		{"IPv6 to IPv4", with(only4, binding("::", 8080)), "Forward Served Reserve"},
		{"at its own address", with(both, binding("0.0.0.0", 0)), "Direct"},
		{"at its own address, of a family that it lacks", with(only4, binding("::", 0)), ""},
		{"at both", direct, "Publish Reserve Direct"},
		{"trusted interfaces", trusted, "Publish Reserve DirectFrom"},
		{"nobody there", with(Publication{Bridge: "br-a"}, binding("0.0.0.0", 8080)), ""},
	} {
		if got := kinds(Published(c.p)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	udp := binding("0.0.0.0", 53)
	udp.Protocol = model.UDP
	if got := kinds(Published(with(both, udp))); got != "Publish Reserve Forward" { // broadcast addresses
		t.Errorf("UDP: %q", got)
	}
}

// kinds are the types of rows, in words.
func kinds(rows []desired.Row) (out string) {
	for i, row := range rows {
		if i > 0 {
			out += " "
		}
		out += fmt.Sprintf("%T", row)[len("desired."):]
	}
	return out
}

// TestDirectIsJoined: stretches that overlap or touch are one row.
func TestDirectIsJoined(t *testing.T) {
	var ports []model.PortBinding
	for _, r := range []model.PortRange{{First: 90, Last: 99}, {First: 80, Last: 85}, {First: 84, Last: 89}, {First: 200, Last: 200}, {First: 80, Last: 85}} {
		ports = append(ports, model.PortBinding{Protocol: model.TCP, Container: r, Host: addr("0.0.0.0")})
	}
	to := addr("10.1.0.2")
	want := []desired.Row{
		desired.Direct{Bridge: "br-a", Addr: to, Protocol: model.TCP, First: 80, Last: 99},
		desired.Direct{Bridge: "br-a", Addr: to, Protocol: model.TCP, First: 200, Last: 200},
	}
	if got := Published(Publication{Bridge: "br-a", To4: to, Ports: ports}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestLinked: what a link opens leads one way, in the families that both ends have, and
// nowhere without ports.
func TestLinked(t *testing.T) {
	from := LinkEnd{Namespace: "one", Interface: "eth0", MAC: "02:00:00:00:00:01", Addr4: addr("10.4.0.2"), Addr6: addr("fd04::2")}
	to := LinkEnd{Namespace: "two", Interface: "eth1", MAC: "02:00:00:00:00:02", Addr4: addr("10.4.0.3"), Addr6: addr("fd04::3")}
	ports := []model.OpenPorts{{Protocol: model.TCP, Ports: model.Port(80)}}
	only4 := to
	only4.Addr6 = netip.Addr{}
	if got := kinds(Linked(Link{"br-q", from, to, ports})); got != "Allow Allow Neigh Neigh" {
		t.Errorf("both families: %q", got)
	}
	if got := kinds(Linked(Link{"br-q", from, only4, ports})); got != "Allow" {
		t.Errorf("one family: %q", got)
	}
	if got := Linked(Link{"br-q", from, to, nil}); got != nil {
		t.Errorf("without ports: %v", got)
	}
	for _, row := range Linked(Link{"br-q", from, to, ports}) {
		if a, ok := row.(desired.Allow); ok && (a.From != from.Addr4 && a.From != from.Addr6 || a.First != 80 || a.Last != 80) {
			t.Errorf("opened: %v", a)
		}
	}
}

// container is one of a generated world.
type container struct {
	network      int
	addr4, addr6 netip.Addr
	ports        []model.PortBinding
	direct       bool
	unprotected  bool
}

// world draws networks, containers and what they publish.
func world(rng *rand.Rand) (networks []Border, containers []container) {
	for n := range 1 + rng.IntN(5) {
		subnets := []netip.Prefix{prefix(fmt.Sprintf("10.%d.0.0/24", n)), prefix(fmt.Sprintf("fd00:%d::/64", n))}
		networks = append(networks, Border{
			Bridge: fmt.Sprintf("br-%d", n), Internal: rng.IntN(3) == 0, ICC: rng.IntN(2) == 0, IPv4: true, Subnets: subnets,
			Masquerade: []Masquerade{{Subnet: subnets[0]}, {Subnet: subnets[1]}},
		})
	}
	for i := range rng.IntN(12) {
		n := rng.IntN(len(networks))
		c := container{network: n, addr4: addr(fmt.Sprintf("10.%d.0.%d", n, 2+i)), direct: rng.IntN(3) == 0, unprotected: rng.IntN(4) == 0}
		if rng.IntN(3) > 0 {
			c.addr6 = addr(fmt.Sprintf("fd00:%d::%d", n, 2+i))
		}
		for range rng.IntN(4) {
			port, first := uint16(1+rng.IntN(1000)), uint16(0)
			if rng.IntN(3) > 0 {
				first = 10000 + port
			}
			for _, f := range model.Families { // published for both, as users mostly do
				c.ports = append(c.ports, model.PortBinding{
					Protocol: []model.Protocol{model.TCP, model.UDP, model.SCTP}[port%3], Container: model.Port(port), Host: f.Unspecified(), HostFirst: first,
				})
			}
		}
		containers = append(containers, c)
	}
	return networks, containers
}

// rowsOf is all that a world is allowed.
func rowsOf(networks []Border, containers []container) []desired.Row {
	var rows []desired.Row
	for _, n := range networks {
		rows = append(rows, Network(n)...)
	}
	for _, c := range containers {
		n := networks[c.network]
		rows = append(rows, Published(Publication{Bridge: n.Bridge, To4: c.addr4, To6: c.addr6, Ports: c.ports, Direct: c.direct})...)
		if c.unprotected && !n.Internal {
			rows = append(rows, Unprotected(n.Bridge, valid(c.addr4, c.addr6))...)
		}
	}
	return rows
}

func valid(addrs ...netip.Addr) []netip.Addr {
	return slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
}

// TestNothingIsOpenUnasked draws worlds: what leads into a network leads to a container
// of it that asked for that port; internal networks have no way out; and each family
// gets what the other does.
func TestNothingIsOpenUnasked(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 28))
	opened := 0
	for range 2000 {
		networks, containers := world(rng)
		isolated, left := map[string]int{}, map[string][2]int{}
		asked := func(to netip.Addr, bridge string, p model.Protocol, port uint16) bool {
			return slices.ContainsFunc(containers, func(c container) bool {
				return networks[c.network].Bridge == bridge && (c.addr4 == to || c.addr6 == to) &&
					(c.unprotected && p == "" || slices.ContainsFunc(c.ports, func(b model.PortBinding) bool {
						return b.Protocol == p && b.Container.First <= port && port <= b.Container.Last
					}))
			})
		}
		for _, row := range rowsOf(networks, containers) {
			switch r := row.(type) {
			case desired.BridgePolicy:
				isolated[r.Bridge]++
			case desired.Masquerade:
				count := left[r.Bridge]
				count[map[model.Family]int{model.IPv4: 0, model.IPv6: 1}[model.FamilyOf(r.Subnet.Addr())]]++
				left[r.Bridge] = count
			case desired.Publish:
				opened++
				if !asked(r.To, r.Bridge, r.Protocol, r.ToFirst) || r.Host.Is4() != r.To.Is4() {
					t.Fatalf("nobody asked for %s", r)
				}
			case desired.Direct:
				opened++
				for port := int(r.First); port <= int(r.Last); port++ {
					if !asked(r.Addr, r.Bridge, r.Protocol, uint16(port)) {
						t.Fatalf("nobody asked for port %d of %s", port, r)
					}
				}
			}
		}
		for _, n := range networks {
			if isolated[n.Bridge] != 1 {
				t.Fatalf("%s is isolated %d times", n.Bridge, isolated[n.Bridge])
			}
			if want := map[bool][2]int{true: {0, 0}, false: {1, 1}}[n.Internal]; left[n.Bridge] != want {
				t.Fatalf("internal=%t: %s leaves %v times by IPv4 and IPv6, want %v", n.Internal, n.Bridge, left[n.Bridge], want)
			}
		}
		sameInBoth(t, networks, containers)
	}
	if opened < 2000 {
		t.Errorf("only %d rows opened anything: the test looks at too little", opened)
	}
}

// sameInBoth: a container with both families has as much open in one as in the other.
func sameInBoth(t *testing.T, networks []Border, containers []container) {
	t.Helper()
	for _, c := range containers {
		if !c.addr6.IsValid() {
			continue
		}
		count := map[bool]int{}
		for _, row := range rowsOf(networks, []container{c}) {
			switch r := row.(type) {
			case desired.Publish:
				count[r.To.Is4()]++
			case desired.Direct:
				count[r.Addr.Is4()] += int(r.Last) - int(r.First) + 1
			}
		}
		if count[true] != count[false] {
			t.Fatalf("%+v: %d things are open by IPv4, %d by IPv6", c, count[true], count[false])
		}
	}
}
