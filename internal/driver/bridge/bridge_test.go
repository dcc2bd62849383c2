package bridge

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

func network(options map[string]string) model.Network {
	return model.Network{
		ID: "0123456789abcdef", Name: "web", IPv4: true, Options: options,
		IPAM: model.IPAM{Pools: []model.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}}},
	}
}

// plan returns the rows of a network as text.
func plan(t *testing.T, n model.Network) string {
	t.Helper()
	rows, err := Driver{}.Plan(driver.View{Network: n})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		out = append(out, r.String())
	}
	return strings.Join(out, "\n")
}

func TestOptionsDecideTheRows(t *testing.T) {
	for _, c := range []struct {
		option, value, want, not string
	}{
		{OptionName, "br-nine", "link host br-nine type bridge", "br-012345"},
		{OptionICC, "false", "icc=false", "icc=true"},
		{OptionMasquerade, "false", "policy bridge", "masquerade"},
		{OptionInhibit, "true", "masquerade", "addr host"},
		{driver.OptionMTU, "1400", "mtu 1400", "mtu 1500"},
	} {
		got := plan(t, network(map[string]string{c.option: c.value}))
		if !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%s=%s: want %q and not %q in:\n%s", c.option, c.value, c.want, c.not, got)
		}
	}
	if got := plan(t, network(nil)); !strings.Contains(got, "br-0123456789ab") || !strings.Contains(got, "addr host br-0123456789ab 10.0.0.1/24") {
		t.Errorf("without options:\n%s", got)
	}
}

// TestForwardingOfTheBridge: it is looked at where the host must forward, and only
// there.
func TestForwardingOfTheBridge(t *testing.T) {
	want := desired.Sysctl{Path: "net/ipv4/conf/br-0123456789ab/forwarding", Value: "1"}
	internal := network(nil)
	internal.Internal = true
	for _, c := range []struct {
		n       model.Network
		forward bool
		want    bool
	}{{network(nil), true, true}, {network(nil), false, false}, {internal, true, false}} {
		rows, err := Driver{}.Plan(driver.View{Network: c.n, Forward: c.forward})
		if err != nil || slices.Contains(rows, desired.Row(want)) != c.want {
			t.Errorf("internal %t, forward %t: %v, %v", c.n.Internal, c.forward, rows, err)
		}
	}
}

// TestUsersSettingsWin: an endpoint's sysctls may name what we set as well, and the
// same thing twice.
func TestUsersSettingsWin(t *testing.T) {
	e := model.Endpoint{Interface: "eth0", Up: true, Addr4: netip.MustParseAddr("10.0.0.2"), DriverOpts: map[string]string{
		driver.OptionSysctls: "net.ipv6.conf.IFNAME.disable_ipv6=0,net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.log_martians=0"}}
	rows, err := Driver{}.Plan(driver.View{Network: network(nil), Endpoint: &e, Sandbox: model.Sandbox{Container: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (desired.State{}).Replace("endpoint/e", rows); err != nil {
		t.Error(err)
	}
	for _, want := range []desired.Row{
		desired.Sysctl{Namespace: "c", Path: "net/ipv6/conf/eth0/disable_ipv6", Value: "0"},
		desired.Sysctl{Namespace: "c", Path: "net/ipv4/conf/eth0/log_martians", Value: "0"},
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("no %s in %v", want, rows)
		}
	}
}

func TestValidate(t *testing.T) {
	other := network(map[string]string{OptionName: "br-other"})
	other.ID, other.Driver, other.Name = "fedcba", "bridge", "other"
	for _, c := range []struct {
		name string
		n    model.Network
		want string
	}{
		{"an MTU that is no number", network(map[string]string{driver.OptionMTU: "bad"}), "failed to parse com.docker.network.driver.mtu value: bad"},
		{"a negative MTU", network(map[string]string{driver.OptionMTU: "-1"}), "invalid MTU number: -1"},
		{"a switch that is none", network(map[string]string{OptionICC: "maybe"}), "failed to parse " + OptionICC},
		{"a name that is too long", network(map[string]string{OptionName: "0123456789abcdef"}), "invalid bridge name"},
		{"a name with a slash", network(map[string]string{OptionName: "../etc"}), "invalid bridge name"},
		{"the same bridge", network(map[string]string{OptionName: "br-other"}), "networks have same bridge name"},
		{"the same subnet", network(nil), "networks have overlapping IPv4"},
		{"no pool", model.Network{IPv4: true}, "ipv4 pool is empty"},
	} {
		err := Driver{}.Validate(c.n, slices.Values([]model.Network{other}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if err := (Driver{}).Validate(other, slices.Values([]model.Network{other})); err != nil {
		t.Errorf("a network conflicts with itself: %v", err)
	}
}

func TestNamesAreComputedAndShort(t *testing.T) {
	e := model.Endpoint{ID: "e1"}
	first, again, next := HostEnd(e, 1), HostEnd(e, 1), HostEnd(e, 2)
	if first != again || first == next || len(first) != 15 || !strings.HasPrefix(first, "veth") {
		t.Errorf("names %q, %q, %q: want the same for one start and another for the next, 15 characters", first, again, next)
	}
	mac := driver.MAC("e1")
	if mac != driver.MAC("e1") || mac == driver.MAC("e2") || len(mac) != 17 || !strings.ContainsRune("26ae", rune(mac[1])) {
		t.Errorf("MAC %s: want a local unicast one that depends on its owner", mac)
	}
}

func TestEndpointSysctls(t *testing.T) {
	e := model.Endpoint{Interface: "eth3", DriverOpts: map[string]string{driver.OptionSysctls: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=2"}}
	rows, err := driver.EndpointSysctls(e, "box")
	want := []desired.Row{
		desired.Sysctl{Namespace: "box", Path: "net/ipv4/conf/eth3/log_martians", Value: "1"},
		desired.Sysctl{Namespace: "box", Path: "net/ipv6/conf/eth3/accept_ra", Value: "2"},
	}
	if err != nil || !slices.Equal(rows, want) {
		t.Errorf("rows %v (%v), want %v", rows, err, want)
	}
	for _, bad := range []string{"net.ipv4.conf.eth0.log_martians=1", "kernel.IFNAME=1", "net.core.conf.IFNAME.x=1", "net.ipv4.conf.IFNAME.x", "net.ipv4/../../../kernel.conf.IFNAME.x=1"} {
		e.DriverOpts[driver.OptionSysctls] = bad
		if _, err := driver.EndpointSysctls(e, "box"); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: error %v, want it refused", bad, err)
		}
	}
}
