package ops_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// world is a model that ops run on one after the other.
type world struct {
	*testing.T
	now   *state.Snapshot
	facts facts.Set
}

func newWorld(t *testing.T) *world { return &world{T: t, now: state.Empty()} }

var maker = ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases(), Host: ops.HostSettings{Forward4: true, Forward6: true}}

// try runs an op; one that fails leaves nothing.
func (w *world) try(op ops.Op) error {
	tx := ops.Begin(w.now, w.facts, all.Drivers())
	if err := op(tx); err != nil {
		return err
	}
	w.now, _ = tx.Commit()
	return nil
}

func (w *world) must(list ...ops.Op) {
	w.Helper()
	for _, op := range list {
		if err := w.try(op); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) refuses(kind model.Kind, text string, op ops.Op) {
	w.Helper()
	before := w.now
	err := w.try(op)
	if err == nil || model.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		w.Errorf("error %v (kind %d), want kind %d and %q", err, model.KindOf(err), kind, text)
	}
	if w.now != before {
		w.Error("a refused request changed the model")
	}
}

func digits(kind, name string) string {
	return (fmt.Sprintf("%x", kind+name) + strings.Repeat("0", 64))[:64]
}

func box(name string) model.SandboxID { return model.SandboxID(digits("s", name)) }

// create makes a stopped container on networks; "web=10.0.0.7" asks for an
// address.
func create(name string, networks ...string) ops.Op {
	var specs []ops.EndpointSpec
	for _, n := range networks {
		specs = append(specs, on(name, n))
	}
	return ops.CreateSandbox(model.Sandbox{
		ID: box(name), Container: model.ContainerID(digits("c", name)), Name: name, Mode: model.SandboxOwn,
	}, specs)
}

func on(name, network string) ops.EndpointSpec {
	net, ip, _ := strings.Cut(network, "=")
	spec := ops.EndpointSpec{ID: model.EndpointID(digits("e", name+net)), Network: net}
	if ip != "" {
		spec.IPv4 = netip.MustParseAddr(ip)
	}
	return spec
}

func network(name, subnet string) ops.Op {
	n := model.Network{ID: model.NetworkID(digits("n", name)), Name: name, IPv4: true}
	if subnet != "" {
		n.IPAM.Pools = []model.Pool{{Subnet: netip.MustParsePrefix(subnet)}}
	}
	return maker.Create(n)
}

func (w *world) address(name string) string {
	w.Helper()
	for e := range w.now.EndpointsOf(box(name)) {
		return e.Addr4.String()
	}
	w.Fatalf("%s is on no network", name)
	return ""
}

func (w *world) subnet(name string) string {
	w.Helper()
	n, err := w.now.FindNetwork(name)
	if err != nil {
		w.Fatal(err)
	}
	return n.IPAM.Pools[0].Subnet.String()
}

func TestDynamicAddressesLeaveClaimsAlone(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/29"), create("claimer", "web=10.0.0.2"), create("other", "web"), ops.StartSandbox(box("other")))
	if got := w.address("other"); got != "10.0.0.3" {
		t.Errorf("address %s, want the one after the claim of a container that never ran", got)
	}
}

func TestExplicitAddressesConflictOnlyAgainstARunningHolder(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), create("old", "web=10.0.0.7"), ops.StartSandbox(box("old")))
	// As compose recreates: the replacement is made while the old one runs.
	w.must(create("new", "web=10.0.0.7"))
	w.refuses(model.Forbidden, "Address already in use\n10.0.0.7 is held by container old", ops.StartSandbox(box("new")))
	w.must(ops.StopSandbox(box("old")), ops.StartSandbox(box("new")))
	w.refuses(model.Forbidden, "held by container new", ops.StartSandbox(box("old")))
	w.must(ops.RemoveSandbox(box("old")))
	w.refuses(model.Forbidden, "held by the gateway of network web", ops.All(create("gate", "web=10.0.0.1"), ops.StartSandbox(box("gate"))))
}

func TestExplicitAddressWinsOverASoftClaim(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), create("soft", "web"), ops.StartSandbox(box("soft")), ops.StopSandbox(box("soft")))
	w.must(create("firm", "web="+w.address("soft")), ops.StartSandbox(box("firm")), ops.StartSandbox(box("soft")))
	if w.address("soft") == w.address("firm") {
		t.Errorf("both have %s", w.address("soft"))
	}
}

func TestYieldedAddressesAreGivenOutNext(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"))
	for _, name := range []string{"one", "two", "three"} {
		w.must(create(name, "web"), ops.StartSandbox(box(name)))
	}
	two := w.address("two")
	w.must(ops.StopSandbox(box("two")), ops.YieldSandbox(box("two")), ops.StartSandbox(box("two")))
	if got := w.address("two"); got != two {
		t.Errorf("nobody took %s, yet it came back with %s", two, got)
	}
	w.must(ops.StopSandbox(box("two")), ops.YieldSandbox(box("two")))
	w.must(create("next", "web"), ops.StartSandbox(box("next")), ops.StartSandbox(box("two")))
	if got := w.address("next"); got != two {
		t.Errorf("the next container has %s, want %s", got, two)
	}
	if got := w.address("two"); got != "10.0.0.5" {
		t.Errorf("the other one has %s, want the first that is free", got)
	}
	// What the user asked for is a claim, whatever is yielded.
	w.must(create("firm", "web=10.0.0.6"), ops.StartSandbox(box("firm")), ops.StopSandbox(box("firm")), ops.YieldSandbox(box("firm")))
	w.must(create("late", "web"), ops.StartSandbox(box("late")))
	if got := w.address("late"); got == "10.0.0.6" {
		t.Errorf("an address that was asked for went to another container")
	}
}

func TestAnAddressKeepsItsMAC(t *testing.T) {
	w := newWorld(t)
	mac := func(name string) string {
		for e := range w.now.EndpointsOf(box(name)) {
			return e.MAC
		}
		return ""
	}
	w.must(network("web", "10.0.0.0/24"), network("db", "10.0.1.0/24"))
	w.must(create("one", "web=10.0.0.7"), ops.StartSandbox(box("one")), create("far", "db=10.0.1.7"), ops.StartSandbox(box("far")))
	before := mac("one")
	w.must(ops.RemoveSandbox(box("one")), create("two", "web=10.0.0.7"), ops.StartSandbox(box("two")))
	if mac("two") != before || before == "" || mac("far") == before {
		t.Errorf("MAC addresses %s, %s and %s", before, mac("two"), mac("far"))
	}
}

func TestStoppedContainersGiveUpTheirAddressesOnlyWhenThePoolIsEmpty(t *testing.T) {
	w := newWorld(t)
	w.must(network("small", "10.0.0.0/29")) // five addresses beside the gateway
	for i := range 5 {
		w.must(create(fmt.Sprint("c", i), "small"), ops.StartSandbox(box(fmt.Sprint("c", i))))
	}
	w.refuses(model.Unfit, "no available IPv4 addresses on this network's address pools: small", ops.All(create("late", "small"), ops.StartSandbox(box("late"))))
	kept := w.address("c3")
	w.must(ops.StopSandbox(box("c1")), ops.StopSandbox(box("c3")), ops.StopSandbox(box("c0")))
	taken := w.address("c1")
	w.must(create("late", "small"), ops.StartSandbox(box("late")))
	if got := w.address("late"); got != taken {
		t.Errorf("address %s, want %s of the container that has been stopped the longest", got, taken)
	}
	w.must(ops.StartSandbox(box("c3")))
	if got := w.address("c3"); got != kept {
		t.Errorf("address %s after a restart, want %s as before", got, kept)
	}
}

func TestSubnetsKeepClearOfTheHost(t *testing.T) {
	w := newWorld(t)
	w.facts.Host.OnLink = []netip.Prefix{netip.MustParsePrefix("172.17.5.0/24"), netip.MustParsePrefix("172.19.0.0/16")}
	w.facts.Host.Resolvers = []netip.Addr{netip.MustParseAddr("172.20.0.53")}
	for name, want := range map[string]string{"web": "172.18.0.0/16"} {
		w.must(network(name, ""))
		if got := w.subnet(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	w.must(network("next", ""))
	if got := w.subnet("next"); got != "172.21.0.0/16" {
		t.Errorf("next: %s, want one clear of routes and name servers", got)
	}
	w.must(network("size", "0.0.0.0/24"))
	if got := w.subnet("size"); got != "172.17.0.0/24" {
		t.Errorf("size: %s, want the lowest free /24", got)
	}
}

func TestNetworkThatIsGoneIsAskedForAtStart(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), create("box", "web=10.0.0.9"), ops.RemoveNetwork("web"))
	w.refuses(model.NotFound, "network web not found", ops.StartSandbox(box("box")))
	// Made again, it is found by its name, and the address is still asked for.
	w.must(network("web", "10.0.0.0/24"), ops.StartSandbox(box("box")))
	if got := w.address("box"); got != "10.0.0.9" {
		t.Errorf("address %s, want the one asked for", got)
	}
	w.must(create("lost", "nowhere"))
	w.refuses(model.NotFound, "network nowhere not found", ops.StartSandbox(box("lost")))
	w.must(ops.Disconnect(box("lost"), "nowhere", false), ops.StartSandbox(box("lost")))
}

// TestWithoutADefaultBridge: its containers start without, and have it again when
// it is back.
func TestWithoutADefaultBridge(t *testing.T) {
	w := newWorld(t)
	none := model.Network{ID: model.NetworkID(digits("n", "none")), Name: "none", Driver: "null"}
	host := model.Network{ID: model.NetworkID(digits("n", "host")), Name: "host", Driver: "host"}
	bridge := model.Network{ID: model.NetworkID(digits("n", "bridge")), Name: "bridge", Driver: "bridge", IPv4: true}
	count := func(name string) int { return len(slices.Collect(w.now.EndpointsOf(box(name)))) }
	w.must(maker.Predefine(bridge, host, none), create("old", "bridge"), maker.Predefine(model.Network{}, host, none))
	w.must(create("new", "bridge"), ops.StartSandbox(box("old")), ops.StartSandbox(box("new")))
	if count("old") != 0 || count("new") != 0 {
		t.Errorf("%d and %d memberships of a network that is not there", count("old"), count("new"))
	}
	w.must(ops.StopSandbox(box("old")), ops.StopSandbox(box("new")), maker.Predefine(bridge, host, none))
	w.must(ops.StartSandbox(box("old")), ops.StartSandbox(box("new")))
	if count("old") != 1 || count("new") != 1 {
		t.Errorf("%d and %d memberships of a network that is back", count("old"), count("new"))
	}
}

// TestNetworkThatCameLate: a membership that waits for its network is one, also once
// the network is there.
func TestNetworkThatCameLate(t *testing.T) {
	w := newWorld(t)
	w.must(create("box", "web"), network("web", "10.0.0.0/24"))
	w.must(ops.Connect(box("box"), ops.EndpointSpec{Network: "web"}), ops.StartSandbox(box("box")))
	if n := len(slices.Collect(w.now.EndpointsOf(box("box")))); n != 1 {
		t.Errorf("%d endpoints on one network", n)
	}
	w.must(create("other", "late"), network("late", "10.1.0.0/24"), ops.Disconnect(box("other"), "late", false), ops.StartSandbox(box("other")))
	if n := len(slices.Collect(w.now.EndpointsOf(box("other")))); n != 0 {
		t.Errorf("%d endpoints of one that is on no network", n)
	}
}

// TestConnectingAMember is refused while it runs. Of one that is stopped the request
// is looked at, and it stays what it was.
func TestConnectingAMember(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", "10.0.0.0/24"), create("box", "web=10.0.0.7"))
	other := on("box", "web=10.0.0.8")
	other.Aliases = []string{"www"}
	w.must(ops.Connect(box("box"), other))
	w.refuses(model.Invalid, "no configured subnet contains IP address 10.9.9.9", ops.Connect(box("box"), on("box", "web=10.9.9.9")))
	w.must(ops.StartSandbox(box("box")))
	w.refuses(model.Forbidden, "endpoint with name box already exists in network web", ops.Connect(box("box"), other))
	endpoints := slices.Collect(w.now.EndpointsOf(box("box")))
	if len(endpoints) != 1 || endpoints[0].Addr4.String() != "10.0.0.7" || len(endpoints[0].Aliases) != 0 {
		t.Errorf("endpoints %+v, want the one it was created with", endpoints)
	}
}

func TestRemovingANetworkInUse(t *testing.T) {
	w := newWorld(t)
	w.must(network("web", ""), create("box", "web"), ops.StartSandbox(box("box")))
	w.refuses(model.Forbidden, `network web has active endpoints (name:"box" id:"`, ops.RemoveNetwork("web"))
	w.must(ops.Disconnect(box("box"), "web", false), ops.RemoveNetwork("web"))
	w.refuses(model.NotFound, "network web not found", ops.RemoveNetwork("web"))
}

func TestInterfaceNames(t *testing.T) {
	w := newWorld(t)
	w.must(network("one", ""), network("two", ""), network("three", ""), create("box", "one", "two"), ops.StartSandbox(box("box")))
	names := func() (out []string) {
		for e := range w.now.EndpointsOf(box("box")) {
			n, _ := w.now.Network(e.Network)
			out = append(out, n.Name+"="+e.Interface)
		}
		slices.Sort(out)
		return out
	}
	if got := strings.Join(names(), " "); got != "one=eth0 two=eth1" {
		t.Errorf("interfaces %s", got)
	}
	w.must(ops.Disconnect(box("box"), "one", false))
	spec := on("box", "three")
	w.must(ops.Connect(box("box"), spec))
	if got := strings.Join(names(), " "); got != "three=eth0 two=eth1" {
		t.Errorf("interfaces %s, want the lowest free name used again", got)
	}
	fixed := on("box", "one")
	fixed.DriverOpts = map[string]string{"com.docker.network.endpoint.ifname": "eth1"}
	w.refuses(model.Unfit, `error renaming interface to "eth1": file exists`, ops.Connect(box("box"), fixed))
	fixed.DriverOpts = map[string]string{"com.docker.network.endpoint.ifname": "wan0"}
	w.must(ops.Connect(box("box"), fixed))
	if !slices.Contains(names(), "one=wan0") {
		t.Errorf("interfaces %v, want wan0 as asked for", names())
	}
}

func TestMembershipsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	none := model.Network{ID: model.NetworkID(digits("n", "none")), Name: "none", Driver: "null"}
	host := model.Network{ID: model.NetworkID(digits("n", "host")), Name: "host", Driver: "host"}
	bridge := model.Network{ID: model.NetworkID(digits("n", "bridge")), Name: "bridge", Driver: "bridge", IPv4: true}
	w.must(maker.Predefine(bridge, host, none), network("web", "10.0.0.0/24"), create("lone", "none"), create("box", "web"))
	w.refuses(model.Invalid, "private (none) mode", ops.Connect(box("lone"), on("lone", "web")))
	w.refuses(model.Invalid, "private (none) mode", ops.Connect(box("box"), on("box", "none")))
	w.refuses(model.Invalid, "container must be created in host network mode", ops.Connect(box("box"), on("box", "host")))
	w.refuses(model.Invalid, "user-specified IP address is supported on user-defined networks only", create("fixed", "bridge=172.17.0.9"))
	w.refuses(model.Invalid, "no configured subnet contains IP address 10.9.9.9", create("out", "web=10.9.9.9"))
	w.refuses(model.Forbidden, "endpoint with name both already exists in network web", create("both", "web", "web"))
	alias := on("alias", "bridge")
	alias.Aliases = []string{"db"}
	w.refuses(model.Invalid, "network-scoped aliases are only supported for user-defined networks",
		ops.CreateSandbox(model.Sandbox{ID: box("alias")}, []ops.EndpointSpec{alias}))
	w.refuses(model.Unfit, "is not connected to the network", ops.Disconnect(box("box"), "bridge", false))
	w.refuses(model.Unfit, "is not connected to the network bridge", ops.Disconnect(box("box"), "bridge", true))
	w.refuses(model.Unfit, "is not connected to the network nowhere", ops.Disconnect(box("box"), "nowhere", true))
	w.refuses(model.Unfit, "is not connected to the network host", ops.Disconnect(box("box"), "host", false))
	w.refuses(model.Forbidden, "bridge is a pre-defined network and cannot be removed", ops.RemoveNetwork("bridge"))
}

func TestTemplates(t *testing.T) {
	w := newWorld(t)
	template := model.Network{ID: model.NetworkID(digits("n", "template")), Name: "template", ConfigOnly: true, IPv4: true,
		IPAM: model.IPAM{Pools: []model.Pool{{Subnet: netip.MustParsePrefix("10.30.0.0/24")}}}}
	from := func(name string) model.Network {
		return model.Network{ID: model.NetworkID(digits("n", name)), Name: name, ConfigFrom: "template", IPv4: true}
	}
	w.must(maker.Create(template), maker.Create(from("made")))
	if got := w.subnet("made"); got != "10.30.0.0/24" {
		t.Errorf("subnet %s, want the template's", got)
	}
	w.refuses(model.Forbidden, `configuration network "template" is in use`, ops.RemoveNetwork("template"))
	w.refuses(model.NotFound, `configuration network "made" does not exist`, func() ops.Op {
		n := from("third")
		n.ConfigFrom = "made"
		return maker.Create(n)
	}())
	w.refuses(model.Forbidden, "cannot create endpoint on configuration-only network", create("box", "template"))
	w.must(ops.RemoveNetwork("made"), ops.RemoveNetwork("template"))
}

func TestForwardingIsRememberedUntilTheNextBoot(t *testing.T) {
	w := newWorld(t)
	w.facts.Host = facts.Host{BootID: "first", ForwardingOff4: true, ForwardingOff6: true}
	w.must(ops.SetHost(maker.Host))
	if h := w.now.Host(); !h.Forwarding4 || h.Forwarding6 {
		t.Errorf("%+v, want IPv4 switched on and IPv6 left until a network needs it", h)
	}
	six := model.Network{ID: model.NetworkID(digits("n", "six")), Name: "six", IPv4: true, IPv6: true,
		IPAM: model.IPAM{Pools: []model.Pool{{Subnet: netip.MustParsePrefix("fd00::/64")}}}}
	w.must(maker.Create(six))
	if !w.now.Host().Forwarding6 {
		t.Error("a network with IPv6 did not switch its forwarding on")
	}
	w.facts.Host = facts.Host{BootID: "first"} // it is on now, because of us
	w.must(ops.SetHost(maker.Host))
	if h := w.now.Host(); !h.Forwarding4 || !h.Forwarding6 {
		t.Errorf("%+v: after a restart it is forgotten who switched forwarding on", h)
	}
	w.facts.Host = facts.Host{BootID: "second"} // after a boot it is on by itself
	w.must(ops.SetHost(maker.Host))
	h := w.now.Host()
	if h.Forwarding4 || h.Forwarding6 {
		t.Errorf("%+v: the administrator's own setting counts as ours", h)
	}
	if !h.Forward4 || !h.Forward6 {
		t.Errorf("%+v: what somebody else switched on may go", h)
	}
	w.must(ops.SetHost(ops.HostSettings{})) // --ip-forward=false
	if h := w.now.Host(); h.Forward4 || h.Forward6 {
		t.Errorf("%+v: forwarding is ours although it shall not be", h)
	}
}

func TestDefaultBridgeFollowsTheFlagsWhileIdle(t *testing.T) {
	w := newWorld(t)
	none := model.Network{ID: model.NetworkID(digits("n", "none")), Name: "none", Driver: "null"}
	host := model.Network{ID: model.NetworkID(digits("n", "host")), Name: "host", Driver: "host"}
	bridge := func(id, subnet string) model.Network {
		n := model.Network{ID: model.NetworkID(digits("n", id)), Name: "bridge", Driver: "bridge", IPv4: true}
		if subnet != "" {
			n.IPAM.Pools = []model.Pool{{Subnet: netip.MustParsePrefix(subnet)}}
		}
		return n
	}
	w.must(maker.Predefine(bridge("first", ""), host, none))
	first, _ := w.now.NetworkNamed("bridge")
	w.must(maker.Predefine(bridge("second", "10.5.0.0/24"), host, none))
	second, _ := w.now.NetworkNamed("bridge")
	if second.ID != first.ID || w.subnet("bridge") != "10.5.0.0/24" {
		t.Errorf("ID %s, subnet %s: want the same ID and the new subnet", model.Short(second.ID), w.subnet("bridge"))
	}
	w.must(create("box", "bridge"), ops.StartSandbox(box("box")), maker.Predefine(bridge("third", "10.6.0.0/24"), host, none))
	if got := w.subnet("bridge"); got != "10.5.0.0/24" {
		t.Errorf("subnet %s: it changed under a running container", got)
	}
	w.must(ops.StopSandbox(box("box")), maker.Predefine(model.Network{}, host, none))
	if _, there := w.now.NetworkNamed("bridge"); there {
		t.Error("--bridge=none left the default bridge")
	}
}

// TestGatewayOfTheDefaultBridge: --default-gateway needs no --bip, only to be in the
// subnet that the bridge gets or has.
func TestGatewayOfTheDefaultBridge(t *testing.T) {
	w := newWorld(t)
	none := model.Network{ID: model.NetworkID(digits("n", "none")), Name: "none", Driver: "null"}
	host := model.Network{ID: model.NetworkID(digits("n", "host")), Name: "host", Driver: "host"}
	bridge := func(subnet, gateway string) ops.Op {
		n := model.Network{ID: model.NetworkID(digits("n", "bridge")), Name: "bridge", Driver: "bridge", IPv4: true}
		if subnet != "" {
			n.IPAM.Pools = []model.Pool{{Subnet: netip.MustParsePrefix(subnet)}}
		}
		if gateway != "" {
			n.IPAM.Pools[0].Aux = map[string]netip.Addr{"DefaultGatewayIPv4": netip.MustParseAddr(gateway)}
		}
		return maker.Predefine(n, host, none)
	}
	const outside = `error creating default "bridge" network: auxiliary address: (DefaultGatewayIPv4:10.9.9.9) must belong to the master pool: `
	w.refuses(model.Forbidden, outside+"172.17.0.0/16", bridge("0.0.0.0/0", "10.9.9.9"))
	w.refuses(model.Forbidden, outside+"10.1.0.0/24", bridge("10.1.0.0/24", "10.9.9.9"))
	for _, step := range []struct{ subnet, gateway, want string }{
		{"0.0.0.0/0", "172.17.0.9", "172.17.0.0/16 on 172.17.0.1 by 172.17.0.9"},
		{"10.1.0.0/24", "", "10.1.0.0/24 on 10.1.0.1 by invalid IP"},
		{"0.0.0.0/0", "10.1.0.9", "10.1.0.0/24 on 10.1.0.1 by 10.1.0.9"}, // a bridge that is there keeps its subnet
		{"", "", "10.1.0.0/24 on 10.1.0.1 by invalid IP"},
		{"10.2.0.0/24", "10.2.0.1", "10.2.0.0/24 on 10.2.0.1 by 10.2.0.1"}, // the bridge's own, said twice
	} {
		w.must(bridge(step.subnet, step.gateway))
		n, _ := w.now.NetworkNamed("bridge")
		p := n.IPAM.Pools[0]
		if got := fmt.Sprintf("%s on %s by %s", p.Subnet, p.Gateway, p.Aux["DefaultGatewayIPv4"]); got != step.want {
			t.Errorf("subnet %q, gateway %q: %s, want %s", step.subnet, step.gateway, got, step.want)
		}
	}
	w.refuses(model.Forbidden, outside+"10.2.0.0/24", bridge("0.0.0.0/0", "10.9.9.9"))
}

// TestRangeOfTheDefaultBridge: --fixed-cidr alone is a range in the subnet that the
// bridge has, if it fits, and the subnet itself if not; on the link's own subnet the
// gateway is the bridge's own address; a bridge whose device is gone takes a subnet
// of the pools that are named now (D14).
func TestRangeOfTheDefaultBridge(t *testing.T) {
	none := model.Network{ID: model.NetworkID(digits("n", "none")), Name: "none", Driver: "null"}
	host := model.Network{ID: model.NetworkID(digits("n", "host")), Name: "host", Driver: "host"}
	fixed := func(ranges ...string) model.Network {
		n := model.Network{ID: model.NetworkID(digits("n", "bridge")), Name: "bridge", Driver: "bridge", IPv4: true}
		for _, r := range ranges {
			p := netip.MustParsePrefix(r)
			n.IPv6 = n.IPv6 || p.Addr().Is6()
			n.IPAM.Pools = append(n.IPAM.Pools, model.Pool{Subnet: p, Range: p})
		}
		return n
	}
	w := newWorld(t)
	shown := func() string {
		n, _ := w.now.NetworkNamed("bridge")
		var out []string
		for _, p := range n.IPAM.Pools {
			out = append(out, strings.ReplaceAll(fmt.Sprint(p.Subnet, " ", p.Range, " ", p.Gateway), "invalid Prefix", "-"))
		}
		return strings.Join(out, ", ")
	}
	own := bridge.OwnAddress(fixed()).String()
	if a := netip.MustParseAddr(own); !a.IsLinkLocalUnicast() || a.As16()[11] != 0xff || a.As16()[12] != 0xfe {
		t.Errorf("the bridge's own address is %s", a)
	}
	for _, step := range []struct {
		ranges string
		want   string
	}{
		{"", "172.17.0.0/16 - 172.17.0.1"},
		{"172.17.0.0/24", "172.17.0.0/16 172.17.0.0/24 172.17.0.1"},
		{"172.17.8.0/24", "172.17.0.0/16 172.17.8.0/24 172.17.0.1"},
		{"", "172.17.0.0/16 - 172.17.0.1"},
		{"10.1.2.0/24", "10.1.2.0/24 10.1.2.0/24 10.1.2.1"},
		{"10.1.2.0/23", "10.1.2.0/23 10.1.2.0/23 10.1.2.1"},
		{"10.1.0.0/16 fd00:7::/64", "10.1.0.0/16 10.1.0.0/16 10.1.0.1, fd00:7::/64 fd00:7::/64 fd00:7::1"},
		{"fd00:7::/80", "10.1.0.0/16 - 10.1.0.1, fd00:7::/64 fd00:7::/80 fd00:7::1"},
		{"fe80::/64", "10.1.0.0/16 - 10.1.0.1, fe80::/64 fe80::/64 " + own},
	} {
		w.must(maker.Predefine(fixed(strings.Fields(step.ranges)...), host, none))
		if got := shown(); got != step.want {
			t.Errorf("%q: %s, want %s", step.ranges, got, step.want)
		}
	}
	gone := maker
	gone.Renumber, gone.Bases = true, []ipam.Base{{Prefix: netip.MustParsePrefix("10.64.0.0/16"), Bits: 24}}
	for _, c := range []struct {
		m    ops.NetworkMaker
		want string
	}{{maker, "10.1.0.0/16 - 10.1.0.1"}, {gone, "10.64.0.0/24 - 10.64.0.1"}, {gone, "10.64.0.0/24 - 10.64.0.1"}} {
		w.must(c.m.Predefine(fixed(), host, none))
		if got := shown(); got != c.want {
			t.Errorf("renumber %t: %s, want %s", c.m.Renumber, got, c.want)
		}
	}
}
