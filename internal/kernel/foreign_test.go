package kernel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/model"
)

// TestForeignObjectsStay surrounds ours with things that users and other daemons
// make, and looks at them after every verb.
func TestForeignObjectsStay(t *testing.T) {
	l := newLab(t)
	want := kerneltest.Attached(t, 1)
	l.apply(t, desired.State{}, want)
	l.sh(t, "", `ip link add foreign type bridge && ip link set foreign up && ip addr add 10.77.0.1/24 dev foreign &&
		ip link add other0 type veth peer name other1 && ip link set other0 alias linkspan:another:network/x master `+kerneltest.Bridge+` &&
		ip link set other0 up && ip link set other1 up &&
		ip route add 10.78.0.0/24 dev foreign && ip rule add iif foreign fwmark 7 lookup 99 && ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev foreign &&
		ip addr add 10.79.0.1/24 dev `+kerneltest.Bridge)
	l.sh(t, kerneltest.Space(0), `ip link add eth9 type bridge && ip addr add 10.80.0.1/24 dev eth9 && ip link set eth9 up && ip route add 10.81.0.0/24 dev eth9`)
	if err := l.Netns().Create(t.Context(), "users", closeFile); err != nil {
		t.Fatal(err)
	}
	host := func() string {
		return l.sh(t, "", `ip -br addr show dev foreign; ip -br link show dev other0; ip route show dev foreign; ip rule show; ip neigh show dev foreign nud permanent; ip addr show `+kerneltest.Bridge+` | grep -o 'inet 10.79.*'; ls `+l.host.Dir+` | grep users`)
	}
	inside := func() string {
		return l.sh(t, kerneltest.Space(0), "ip -br addr show eth9; ip route show dev eth9")
	}
	hostBefore, insideBefore := host(), inside()
	for _, want := range []string{"10.77.0.1/24", "other0", "10.78.0.0/24", "10.77.0.9", "10.79.0.1/24", "users"} {
		if !strings.Contains(hostBefore, want) {
			t.Fatalf("the test sees no %s in\n%s", want, hostBefore)
		}
	}
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("resync among foreign things: %+v, %v", r, err)
	}
	if got := inside(); got != insideBefore {
		t.Errorf("in the container, before\n%s\nafter\n%s", insideBefore, got)
	}
	keep := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, kerneltest.Network()...)
	if _, err := l.Resync(t.Context(), keep); err != nil {
		t.Error(err)
	}
	if got := host(); got != hostBefore {
		t.Errorf("on the host, before\n%s\nafter\n%s", hostBefore, got)
	}
}

func TestForeignNamesAreConflicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		setUp  string
		change func(*desired.Link)
		want   string
	}{
		{"a bridge of somebody else", "ip link add " + kerneltest.Bridge + " type bridge", nil,
			"interface br-test already exists\nit was not made by this engine\nremove it (ip link delete br-test) or choose another interface name"},
		{"no bridge", "ip link add " + kerneltest.Bridge + " type veth peer name x", nil,
			"existing interface br-test is not a bridge"},
		{"no bridge to adopt", "ip link add " + kerneltest.Bridge + " type veth peer name x", func(l *desired.Link) { l.Adopt = true },
			"existing interface br-test is not a bridge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.sh(t, "", c.setUp)
			before := l.sh(t, "", "ip link")
			row := kerneltest.Network()[0].(desired.Link)
			if c.change != nil {
				c.change(&row)
			}
			want := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, row)
			err := l.Apply(t.Context(), kerneltest.Diff(desired.State{}, want))
			failures := desired.Failures(err)
			if len(failures) != 1 || failures[0].Owner != kerneltest.NetworkOwner || failures[0].Key != row.Key() {
				t.Fatalf("failures: %v", err)
			}
			if got := failures[0].Err.Error(); got != "interface br-test: "+c.want || model.KindOf(err) != model.Conflict {
				t.Errorf("got %q of kind %d", got, model.KindOf(err))
			}
			l.apply(t, want, desired.State{})
			if after := l.sh(t, "", "ip link"); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// adoptedFence shows what a fence is made of.
const adoptedFence = "tc qdisc show dev " + kerneltest.Bridge + "; tc filter show dev " + kerneltest.Bridge +
	" ingress 2>&1; cat /proc/sys/net/ipv4/conf/" + kerneltest.Bridge + "/route_localnet"

func TestAdoptedBridge(t *testing.T) {
	l := newLab(t)
	l.sh(t, "", "ip link add "+kerneltest.Bridge+" address 02:00:00:00:00:77 mtu 1500 type bridge && ip addr add fd00:9::1/64 dev "+kerneltest.Bridge)
	rows := kerneltest.Network()
	bridge := rows[0].(desired.Link)
	bridge.Adopt = true
	rows[0] = bridge
	want := kerneltest.With(t, kerneltest.Attached(t, 1), kerneltest.NetworkOwner, rows...)
	endpoint := kerneltest.Endpoint(0) // without the neighbour row, which has our MAC address
	want = kerneltest.With(t, want, kerneltest.EndpointOwner(0), endpoint[:len(endpoint)-1]...)
	l.apply(t, desired.State{}, want)
	got := l.sh(t, "", "ip -d link show "+kerneltest.Bridge)
	if strings.Contains(got, "alias") || !strings.Contains(got, "02:00:00:00:00:77") || !strings.Contains(got, ",UP") {
		t.Errorf("adopted: %s", got)
	}
	l.sh(t, kerneltest.Space(0), "ping -c1 -w5 10.9.0.1")
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("resync: %+v, %v", r, err)
	}
	if got := l.sh(t, "", adoptedFence); !strings.Contains(got, "bytecode") || !strings.HasSuffix(got, "1") {
		t.Errorf("fence: %s", got)
	}
	l.apply(t, want, desired.State{})
	if got := l.sh(t, "", adoptedFence); !strings.HasSuffix(got, "0") || strings.Contains(got, "clsact") || strings.Contains(got, "bytecode") {
		t.Errorf("fence after removal: %s", got)
	}
	if got := l.sh(t, "", "ip -br addr show "+kerneltest.Bridge); !strings.Contains(got, kerneltest.Bridge) || strings.Contains(got, "10.9.0.1") || !strings.Contains(got, "fd00:9::1") {
		t.Errorf("after removal: %s", got)
	}
}

// TestFenceIsNoLongerWanted: a daemon that writes no rules takes the fence of a bridge that
// stays, and with it route_localnet, which depends on rules; one of somebody else's, set at a
// bridge that never had a fence, stays.
func TestFenceIsNoLongerWanted(t *testing.T) {
	l := newLab(t)
	fenced := kerneltest.Attached(t, 1)
	l.apply(t, desired.State{}, fenced)
	rows := slices.DeleteFunc(kerneltest.Network(), func(r desired.Row) bool { return r.Key().Kind == desired.KindFence })
	open := kerneltest.With(t, fenced, kerneltest.NetworkOwner, rows...)
	r, err := l.Resync(t.Context(), open)
	if err != nil || len(r.Drift) != 1 || !strings.Contains(r.Drift[0], "fence br-test localhost: left over") {
		t.Errorf("%+v, %v", r, err)
	}
	if got := l.sh(t, "", adoptedFence); !strings.HasSuffix(got, "0") || strings.Contains(got, "clsact") || strings.Contains(got, "bytecode") {
		t.Errorf("left over: %s", got)
	}
	l.sh(t, "", "echo 1 > /proc/sys/net/ipv4/conf/"+kerneltest.Bridge+"/route_localnet")
	if r, err := l.Resync(t.Context(), open); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
		t.Errorf("again: %+v, %v", r, err)
	}
}

// TestAdoptMakesWhatIsMissing: such a bridge is ours, and goes with its row.
func TestAdoptMakesWhatIsMissing(t *testing.T) {
	l := newLab(t)
	row := kerneltest.Network()[0].(desired.Link)
	row.Adopt = true
	want := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, row)
	l.apply(t, desired.State{}, want)
	if !l.exists(t, kerneltest.Bridge) {
		t.Fatal("not made")
	}
	l.apply(t, want, desired.State{})
	if l.exists(t, kerneltest.Bridge) {
		t.Error("not removed")
	}
}

// TestHalfMadeIsOurs plays a crash between the creation of a link and its
// marking.
func TestHalfMadeIsOurs(t *testing.T) {
	l := newLab(t)
	want := kerneltest.Attached(t, 1)
	l.apply(t, desired.State{}, want)
	l.sh(t, "", "ip link set "+kerneltest.Bridge+" alias '' && ip link set "+kerneltest.Port(0)+" alias ''")
	r, err := l.Resync(t.Context(), want)
	if err != nil || r.Writes != 2 || len(r.Drift) != 2 {
		t.Errorf("resync: %+v, %v", r, err)
	}
}

func TestForeignNamespaceIsAConflict(t *testing.T) {
	l := newLab(t)
	if err := l.Netns().Create(t.Context(), kerneltest.Space(0), closeFile); err != nil {
		t.Fatal(err)
	}
	want := kerneltest.With(t, desired.State{}, kerneltest.SandboxOwner(0), kerneltest.Sandbox(0)...)
	err := l.Apply(t.Context(), kerneltest.Diff(desired.State{}, want))
	if failures := desired.Failures(err); len(failures) != 1 || model.KindOf(err) != model.Conflict {
		t.Errorf("failures: %v", err)
	}
	l.apply(t, want, desired.State{})
	if names, err := l.Netns().List(); err != nil || len(names) != 1 {
		t.Errorf("namespaces left: %v, %v", names, err)
	}
}

// TestForeignRoute: on the host a foreign route is a conflict, in a namespace of
// ours it gives way.
func TestForeignRoute(t *testing.T) {
	l := newLab(t)
	l.apply(t, desired.State{}, kerneltest.Attached(t, 1))
	to := netip.MustParsePrefix("10.200.0.0/16")
	gateway := netip.MustParseAddr("10.9.0.7")
	l.sh(t, "", "ip route add 10.200.0.0/16 dev "+kerneltest.Bridge)
	l.sh(t, kerneltest.Space(0), "ip route add 10.200.0.0/16 dev eth0")
	for _, c := range []struct {
		row  desired.Route
		fine bool
	}{
		{desired.Route{Link: kerneltest.Bridge, Destination: to, Gateway: gateway}, false},
		{desired.Route{Namespace: kerneltest.Space(0), Link: "eth0", Destination: to, Gateway: gateway}, true},
	} {
		err := l.Apply(t.Context(), []desired.Delta{{Owner: "network/r", New: c.row}})
		if c.fine != (err == nil) || !c.fine && model.KindOf(err) != model.Conflict {
			t.Errorf("%s: %v", c.row, err)
		}
	}
}

// TestKernelsWords: what the kernel says about a refusal reaches the caller.
func TestKernelsWords(t *testing.T) {
	l := newLab(t)
	l.apply(t, desired.State{}, kerneltest.Attached(t, 0))
	err := l.Apply(t.Context(), []desired.Delta{{Owner: "network/r", New: desired.Route{
		Link: kerneltest.Bridge, Destination: netip.MustParsePrefix("10.5.0.0/16"), Gateway: netip.MustParseAddr("192.168.1.1"),
	}}})
	want := "network/r: host 10.5.0.0/16: route to 10.5.0.0/16: network is unreachable: Nexthop has invalid gateway"
	if fmt.Sprint(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestUnattributedFailure: a firewall that fails as a whole ends the pass before
// anything is reachable.
func TestUnattributedFailure(t *testing.T) {
	broken := errors.New("no nftables")
	l := labOn(t, kerneltest.New(t), brokenFirewall{err: broken})
	rows := append(kerneltest.Network(), desired.BridgePolicy{Bridge: kerneltest.Bridge})
	want := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, rows...)
	err := l.Apply(t.Context(), kerneltest.Diff(desired.State{}, want))
	if !errors.Is(err, broken) || len(desired.Failures(err)) != 0 || l.Writes() != 0 {
		t.Errorf("error %v, %d writes", err, l.Writes())
	}
}
