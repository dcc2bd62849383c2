package overlays_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver/all"
	"github.com/linkspan/linkspan/internal/driver/overlay"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ops/overlays"
	"github.com/linkspan/linkspan/internal/state"
)

// world is a host of a swarm, and what others told it.
type world struct {
	t     *testing.T
	now   *state.Snapshot
	facts facts.Set
}

const ingressID = "ingress0000000000000000000"

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: state.Empty()}
	w.must(overlays.Put(model.Network{
		ID: ingressID, Name: "ingress", Driver: model.DriverOverlay, IPv4: true, Ingress: true, Options: map[string]string{overlay.OptionVNIs: "4096"},
		IPAM: model.IPAM{Driver: "default", Pools: []model.Pool{{Subnet: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1")}}},
	}))
	return w
}

func (w *world) do(op ops.Op) error {
	tx := ops.Begin(w.now, w.facts, all.Drivers())
	tx.Maker.Bases = ipam.DefaultBases()
	if err := op(tx); err != nil {
		return err
	}
	w.now, _ = tx.Commit()
	return nil
}

func (w *world) must(op ops.Op) {
	w.t.Helper()
	if err := w.do(op); err != nil {
		w.t.Fatal(err)
	}
}

// told has another host have a task that publishes these ports.
func (w *world) told(ports ...uint16) {
	var list []model.IngressPort
	for _, p := range ports {
		list = append(list, model.IngressPort{Protocol: model.TCP, Target: 80, Published: p})
	}
	w.facts = w.facts.With(facts.Overlay{ID: ingressID, Local: netip.MustParseAddr("192.0.2.1"), Remotes: []model.Remote{
		{Network: ingressID, Endpoint: "e", VTEP: netip.MustParseAddr("192.0.2.2"), Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.9")},
			Service: &model.ServiceEndpoint{Service: "s", Name: "web", Ingress: list}},
	}})
}

// publish runs the op and returns the ports that the host has, and what was refused.
func (w *world) publish() (have string, refused overlays.Refused) {
	w.t.Helper()
	w.must(overlays.Publish(&refused))
	var words []string
	sb, _ := w.now.Sandbox(model.IngressSandbox(ingressID).ID)
	for _, b := range sb.Ports {
		words = append(words, netip.AddrPortFrom(b.Host, b.HostFirst).String())
	}
	return strings.Join(words, " "), refused
}

func TestPublishFollowsServices(t *testing.T) {
	w := newWorld(t)
	if have, _ := w.publish(); have != "" || sandboxes(w.now) != 0 {
		t.Errorf("without a service: %q, %d sandboxes", have, sandboxes(w.now))
	}
	w.told(8080, 9090)
	if have, _ := w.publish(); have != "0.0.0.0:8080 [::]:8080 0.0.0.0:9090 [::]:9090" {
		t.Errorf("has %q", have)
	}
	sb, _ := w.now.Sandbox(model.IngressSandbox(ingressID).ID)
	for e := range w.now.EndpointsOf(sb.ID) {
		if !e.Up || !e.WayOut || e.Interface != desired.Gate || !e.Addr4.IsValid() {
			t.Errorf("gate %+v", e)
		}
	}
	revision := w.now
	if have, _ := w.publish(); have == "" || len(state.Diff(revision, w.now)) > 0 {
		t.Errorf("again: %q, %v", have, state.Diff(revision, w.now))
	}
	w.told(9090)
	if have, _ := w.publish(); have != "0.0.0.0:9090 [::]:9090" {
		t.Errorf("has %q", have)
	}
	w.told()
	if have, _ := w.publish(); have != "" || sandboxes(w.now) != 0 {
		t.Errorf("without ports: %q, %d sandboxes", have, sandboxes(w.now))
	}
	w.told(8080)
	w.publish()
	w.must(overlays.Drop(ingressID))
	if sandboxes(w.now) != 0 {
		t.Error("the namespace of a network that is gone is left")
	}
}

func sandboxes(s *state.Snapshot) (n int) {
	for range s.Sandboxes() {
		n++
	}
	return n
}

// TestWhoComesFirstHasThePort: containers and services do not take ports from one another,
// and it is said who has one.
func TestWhoComesFirstHasThePort(t *testing.T) {
	w := newWorld(t)
	w.must(ops.NetworkMaker{Drivers: all.Drivers(), Bases: ipam.DefaultBases()}.Create(model.Network{ID: "red", Name: "red", Driver: "bridge", IPv4: true}))
	box := func(name string, port uint16) model.SandboxID {
		sb := model.Sandbox{ID: model.SandboxID("s" + name), Container: model.ContainerID("c" + name), Name: name, Mode: model.SandboxOwn,
			Publish: []model.PortSpec{{Protocol: model.TCP, Container: model.Port(80), HostPorts: model.Port(port)}}}
		w.must(ops.CreateSandbox(sb, []ops.EndpointSpec{{ID: model.EndpointID("e" + name), Network: "red"}}))
		return sb.ID
	}
	w.must(ops.StartSandbox(box("first", 8080)))
	w.told(8080, 9090)
	have, refused := w.publish()
	if have != "0.0.0.0:9090 [::]:9090" || len(refused) != 1 {
		t.Errorf("has %q, refused %v", have, refused)
	}
	for p, err := range refused {
		if p.HostPorts.First != 8080 || !strings.Contains(err.Error(), "port is already allocated") || !strings.Contains(err.Error(), "container first") {
			t.Errorf("%v: %v", p, err)
		}
	}
	err := w.do(ops.StartSandbox(box("second", 9090)))
	if err == nil || !strings.Contains(err.Error(), "Bind for 0.0.0.0:9090 failed: port is already allocated") || !strings.Contains(err.Error(), "a service of the swarm publishes it") {
		t.Errorf("a container with a service's port: %v", err)
	}
	w.must(ops.StopSandbox("sfirst"))
	if have, refused = w.publish(); have != "0.0.0.0:8080 [::]:8080 0.0.0.0:9090 [::]:9090" || len(refused) != 0 {
		t.Errorf("has %q, refused %v", have, refused)
	}
	// A process of the host: the engine runs the op again, and says so.
	w.facts.Taken = []facts.TakenPorts{{Protocol: model.TCP, Addr: netip.IPv4Unspecified(), Ports: model.Port(8080), Why: "address already in use", Who: "process nginx, pid 1"}}
	if have, refused = w.publish(); have != "0.0.0.0:9090 [::]:9090" || len(refused) != 1 {
		t.Errorf("has %q, refused %v", have, refused)
	}
}

// TestIPv6Gate: the gateway bridge has IPv6 once the ingress network has, and not before.
func TestIPv6Gate(t *testing.T) {
	w := newWorld(t)
	w.facts.Host.UniqueLocal = netip.MustParsePrefix("fd00:1::/48")
	w.told(8080)
	w.publish()
	n, _ := w.now.Network(ingressID)
	if gw, _ := w.now.NetworkNamed("docker_gwbridge"); gw.IPv6 {
		t.Error("IPv6 that nobody asked for")
	}
	n.IPv6 = true
	n.IPAM.Pools = append(n.IPAM.Pools, model.Pool{Subnet: netip.MustParsePrefix("fd00:9::/64")})
	w.must(overlays.Put(n))
	have, _ := w.publish()
	gw, _ := w.now.NetworkNamed("docker_gwbridge")
	e, _ := w.now.EndpointAt(model.IngressSandbox(ingressID).ID, gw.ID)
	if !gw.IPv6 || !e.Addr6.IsValid() || have != "0.0.0.0:8080 [::]:8080" {
		t.Errorf("gateway %v, gate %s, ports %q", gw.IPv6, e.Addr6, have)
	}
}
