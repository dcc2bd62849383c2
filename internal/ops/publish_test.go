package ops_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ports"
)

// spec reads "[ADDRESS ]HOSTPORTS:CONTAINERPORTS[/PROTOCOL]".
func spec(t *testing.T, text string) model.PortSpec {
	t.Helper()
	var s model.PortSpec
	host, rest, said := strings.Cut(text, " ")
	if said {
		s.Host = netip.MustParseAddr(host)
	} else {
		rest = host
	}
	rest, protocol, said := strings.Cut(rest, "/")
	if s.Protocol = model.TCP; said {
		s.Protocol = model.Protocol(protocol)
	}
	hostPorts, container, _ := strings.Cut(rest, ":")
	var err1, err2 error
	s.HostPorts, err1 = ports.ParseHostPorts(hostPorts)
	s.Container, err2 = ports.ParseHostPorts(container)
	if err1 != nil || err2 != nil {
		t.Fatal(text, err1, err2)
	}
	return s
}

// publishing makes a stopped container on networks that publishes ports.
func (w *world) publishing(name, publish string, networks ...string) ops.Op {
	w.Helper()
	sb := model.Sandbox{ID: box(name), Container: model.ContainerID(digits("c", name)), Name: name, Mode: model.SandboxOwn}
	for _, text := range strings.Split(publish, ", ") {
		sb.Publish = append(sb.Publish, spec(w.T, text))
	}
	var specs []ops.EndpointSpec
	for _, n := range networks {
		specs = append(specs, on(name, n))
	}
	return ops.CreateSandbox(sb, specs)
}

// open prints the ports of a container that are open.
func (w *world) open(name string) string {
	w.Helper()
	sb, _ := w.now.Sandbox(box(name))
	if !sb.Up {
		return "down"
	}
	var out []string
	for _, b := range sb.Ports {
		host := "direct"
		if b.HostFirst != 0 {
			host = b.HostPorts().String()
		}
		out = append(out, fmt.Sprintf("%s %s:%s/%s", b.Host, host, b.Container, b.Protocol))
	}
	return strings.Join(out, ", ")
}

func (w *world) wantOpen(name, want string) {
	w.Helper()
	if got := w.open(name); got != want {
		w.Errorf("%s has %q, want %q", name, got, want)
	}
}

// six makes a network with both families.
func six(name string, options map[string]string) ops.Op {
	return maker.Create(model.Network{ID: model.NetworkID(digits("n", name)), Name: name, IPv4: true, IPv6: true, Options: options})
}

func newPortWorld(t *testing.T) *world {
	w := newWorld(t)
	w.facts.Host.UniqueLocal = netip.MustParsePrefix("fd00:1::/48")
	w.facts.Host.LocalPorts = model.PortRange{First: 40000, Last: 40009}
	w.must(network("web", ""), six("both", nil))
	return w
}

func TestWherePortsAreOpened(t *testing.T) {
	only6 := model.Network{ID: model.NetworkID(digits("n", "only6")), Name: "only6", IPv6: true}
	internal := model.Network{ID: model.NetworkID(digits("n", "internal")), Name: "internal", IPv4: true, Internal: true}
	vlan := model.Network{ID: model.NetworkID(digits("n", "local")), Name: "local", IPv4: true, Options: map[string]string{"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}
	bind6 := model.Network{ID: model.NetworkID(digits("n", "bind6")), Name: "bind6", IPv4: true, IPv6: true, Options: map[string]string{"com.docker.network.bridge.host_binding_ipv4": "::"}}
	routed := map[string]string{"com.docker.network.bridge.gateway_mode_ipv6": "routed"}
	for _, c := range []struct{ network, publish, want string }{
		{"web", "8080:80", "0.0.0.0 8080:80/tcp, :: 8080:80/tcp"},
		{"both", "8080:80", "0.0.0.0 8080:80/tcp, :: 8080:80/tcp"},
		{"only6", "8080:80", ":: 8080:80/tcp"},
		{"internal", "8080:80", ""},
		{"local", "8080:80", "127.0.0.1 8080:80/tcp"},
		{"local", "0.0.0.0 8080:80", "0.0.0.0 8080:80/tcp"},
		{"bind6", "8080:80", ":: 8080:80/tcp"},
		{"web", "10.0.0.1 8080:80", "10.0.0.1 8080:80/tcp"},
		{"web", "::1 8080:80", "::1 8080:80/tcp"},
		{"only6", "10.0.0.1 8080:80", ""},
		{"web", "8080:80/sctp", "0.0.0.0 8080:80/sctp"},
		{"both", "8080:80/sctp", "0.0.0.0 8080:80/sctp, :: 8080:80/sctp"},
		{"web", "9000-9002:80-82", "0.0.0.0 9000-9002:80-82/tcp, :: 9000-9002:80-82/tcp"},
		{"routed", "9000:80", ":: direct:80/tcp, 0.0.0.0 9000:80/tcp"},
		{"routed", "::1 9000:80", "::1 direct:80/tcp"},
		{"web", "9201:80, 9202:80", "0.0.0.0 9201:80/tcp, :: 9201:80/tcp, 0.0.0.0 9202:80/tcp, :: 9202:80/tcp"},
		{"web", "10.0.0.1 9201:80, 10.0.0.2 9201:80", "10.0.0.1 9201:80/tcp, 10.0.0.2 9201:80/tcp"},
	} {
		t.Run(c.network+" "+c.publish, func(t *testing.T) {
			w := newPortWorld(t)
			w.must(maker.Create(only6), maker.Create(internal), maker.Create(vlan), maker.Create(bind6), six("routed", routed))
			w.must(w.publishing("a", c.publish, c.network), ops.StartSandbox(box("a")))
			w.wantOpen("a", c.want)
		})
	}
}

func TestHostWithoutIPv6(t *testing.T) {
	w := newPortWorld(t)
	w.facts.Host.NoIPv6 = true
	w.must(w.publishing("a", "8080:80", "both"), ops.StartSandbox(box("a")))
	w.wantOpen("a", "0.0.0.0 8080:80/tcp")
}

func TestPortConflicts(t *testing.T) {
	for _, c := range []struct{ first, second, want string }{
		{"8080:80", "8080:80", "Bind for 0.0.0.0:8080 failed: port is already allocated\ncontainer first (" + digits("c", "first")[:12] + ")"},
		{"8080:80", "127.0.0.1 8080:80", "Bind for 127.0.0.1:8080 failed"},
		{"127.0.0.1 8080:80", "8080:80", "Bind for 0.0.0.0:8080 failed"},
		{"::1 8080:80", "8080:80", "Bind for [::]:8080 failed"},
		{"127.0.0.1 8080:80", "127.0.0.2 8080:80", ""},
		{"0.0.0.0 8080:80", ":: 8080:80", ""},
		{"8080:80", "8080:80/udp", ""},
		{"20000-20499:1000-1499", "20250:80", "Bind for 0.0.0.0:20250 failed"},
		{"20250:80", "20000-20499:1000-1499", "Bind for 0.0.0.0:20250 failed"},
		{"1-65535:1-65535", "65535:80", "Bind for 0.0.0.0:65535 failed"},
	} {
		w := newPortWorld(t)
		w.must(w.publishing("first", c.first, "web"), w.publishing("second", c.second, "both"), ops.StartSandbox(box("first")))
		start := ops.StartSandbox(box("second"))
		if c.want == "" {
			w.must(start)
			continue
		}
		w.refuses(model.Unfit, c.want, start)
		w.refuses(model.Unfit, "driver failed programming external connectivity on endpoint second ("+digits("e", "secondboth")+"): ", start)
		w.must(ops.StopSandbox(box("first")), start)
		w.refuses(model.Unfit, "container second", ops.StartSandbox(box("first")))
	}
}

// TestPortsOfTheDaemon: a port at which the daemon listens is in use like another
// container's.
func TestPortsOfTheDaemon(t *testing.T) {
	for publish, want := range map[string]string{
		"2375:80":           "Bind for 0.0.0.0:2375 failed: port is already allocated\nthis daemon listens there itself",
		"10.0.0.1 2375:80":  "Bind for 10.0.0.1:2375 failed: port is already allocated",
		":: 2375:80":        "",
		"2375:80/udp":       "",
		"2370-2380:80-90":   "Bind for 0.0.0.0:2375 failed",
		"127.0.0.1 2376:80": "Bind for 127.0.0.1:2376 failed: port is already allocated",
		"10.0.0.1 2376:80":  "",
	} {
		w := newPortWorld(t)
		w.facts.Host.Own = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:2375"), netip.MustParseAddrPort("127.0.0.1:2376")}
		w.must(w.publishing("one", publish, "both"))
		if want == "" {
			w.must(ops.StartSandbox(box("one")))
		} else {
			w.refuses(model.Unfit, want, ops.StartSandbox(box("one")))
		}
	}
}

func TestContainerInItsOwnWay(t *testing.T) {
	w := newPortWorld(t)
	w.must(w.publishing("a", "8080:80, 127.0.0.1 8080:81", "web"))
	w.refuses(model.Unfit, "Bind for 127.0.0.1:8080 failed: port is already allocated\nthis container publishes it twice", ops.StartSandbox(box("a")))
}

// TestRecreate plays what compose does: the replacement exists, with the same
// port and address, before the old container is gone.
func TestRecreate(t *testing.T) {
	w := newPortWorld(t)
	w.must(network("fixed", "10.9.0.0/24"), w.publishing("web-1", "8080:80", "fixed=10.9.0.7"), ops.StartSandbox(box("web-1")))
	w.must(w.publishing("tmp_web-1", "8080:80", "fixed=10.9.0.7"), ops.StopSandbox(box("web-1")), ops.RemoveSandbox(box("web-1")),
		ops.RenameSandbox(box("tmp_web-1"), "web-1"), ops.StartSandbox(box("tmp_web-1")))
	w.wantOpen("tmp_web-1", "0.0.0.0 8080:80/tcp, :: 8080:80/tcp")
}

func TestFreePorts(t *testing.T) {
	w := newPortWorld(t)
	w.facts.Host.ReservedPorts = []model.PortRange{{First: 40003, Last: 40005}}
	w.must(w.publishing("claimer", "40007:80", "web")) // never started
	used := map[uint16]bool{}
	for i := range 6 {
		name := fmt.Sprint("box", i)
		w.must(w.publishing(name, ":80", "web"), ops.StartSandbox(box(name)))
		sb, _ := w.now.Sandbox(box(name))
		port := sb.Ports[0].HostFirst
		if len(sb.Ports) != 2 || sb.Ports[1].HostFirst != port {
			t.Fatalf("%s has %s: want one port in both families", name, w.open(name))
		}
		if used[port] || port < 40000 || port > 40009 || port >= 40003 && port <= 40005 || port == 40007 {
			t.Fatalf("%s has %d: taken, reserved, claimed or out of range", name, port)
		}
		used[port] = true
	}
	// The claimed one is given when nothing else is left, and then none.
	w.must(w.publishing("last", ":80", "web"), ops.StartSandbox(box("last")))
	w.wantOpen("last", "0.0.0.0 40007:80/tcp, :: 40007:80/tcp")
	w.must(w.publishing("late", ":80", "web"))
	w.refuses(model.Unfit, "all ports are allocated", ops.StartSandbox(box("late")))
	w.must(w.publishing("elsewhere", ":80/udp", "web"), ops.StartSandbox(box("elsewhere")))
}

func TestFreePortIsKeptOverARestart(t *testing.T) {
	w := newPortWorld(t)
	w.must(w.publishing("a", ":80-82, :53/udp", "web"), ops.StartSandbox(box("a")))
	before := w.open("a")
	w.must(ops.StopSandbox(box("a")))
	for i := range 2 {
		name := fmt.Sprint("other", i)
		w.must(w.publishing(name, ":80-82", "web"), ops.StartSandbox(box(name)))
	}
	w.must(ops.StartSandbox(box("a")))
	w.wantOpen("a", before)
}

func TestOneOfARange(t *testing.T) {
	w := newPortWorld(t)
	w.must(w.publishing("first", "9100-9101:80", "web"), w.publishing("next", "9100-9101:80", "web"), w.publishing("none", "9100-9101:80", "web"))
	w.must(ops.StartSandbox(box("first")), ops.StartSandbox(box("next")))
	w.wantOpen("first", "0.0.0.0 9100:80/tcp, :: 9100:80/tcp")
	w.wantOpen("next", "0.0.0.0 9101:80/tcp, :: 9101:80/tcp")
	w.refuses(model.Unfit, "all ports are allocated\ncontainer ", ops.StartSandbox(box("none")))
}

func TestFreePortsNotInARow(t *testing.T) {
	w := newPortWorld(t)
	w.must(w.publishing("comb", "40001:1, 40003:1, 40005:1, 40007:1, 40009:1", "web"), ops.StartSandbox(box("comb")))
	w.must(w.publishing("a", "0.0.0.0 :80-84", "web"), ops.StartSandbox(box("a")))
	sb, _ := w.now.Sandbox(box("a"))
	if len(sb.Ports) != 5 {
		t.Errorf("five ports in the gaps: %s", w.open("a"))
	}
}

func TestPortsHeldOutside(t *testing.T) {
	w := newPortWorld(t)
	w.facts.Taken = []facts.TakenPorts{
		{Protocol: "tcp", Addr: netip.IPv4Unspecified(), Ports: model.Port(8080), Why: "address already in use", Who: "process nginx, pid 123"},
		{Protocol: "tcp", Addr: netip.MustParseAddr("10.0.0.9"), Ports: model.PortRange{First: 1, Last: 65535}, Why: "cannot assign requested address"},
	}
	w.must(w.publishing("a", "8080:80", "web"), w.publishing("b", "8080-8081:80", "web"), w.publishing("c", "10.0.0.9 :80", "web"), w.publishing("d", "10.0.0.9 70:80", "web"))
	w.refuses(model.Unfit, "): failed to bind host port 0.0.0.0:8080/tcp: address already in use\nprocess nginx, pid 123", ops.StartSandbox(box("a")))
	w.must(ops.StartSandbox(box("b")))
	w.wantOpen("b", "0.0.0.0 8081:80/tcp, :: 8081:80/tcp")
	w.refuses(model.Unfit, "all ports are allocated", ops.StartSandbox(box("c")))
	w.refuses(model.Unfit, "10.0.0.9:70/tcp: cannot assign requested address", ops.StartSandbox(box("d")))
}

func TestPortsFollowTheGateway(t *testing.T) {
	w := newPortWorld(t)
	local := model.Network{ID: model.NetworkID(digits("n", "alps")), Name: "alps", IPv4: true, Options: map[string]string{"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}}
	w.must(maker.Create(local), w.publishing("a", "8080:80, :81", "web"), ops.StartSandbox(box("a")))
	before := w.open("a")
	port := before[strings.LastIndex(before, ":: ")+3 : strings.LastIndex(before, ":81")]
	w.must(ops.Connect(box("a"), on("a", "alps"))) // first in the alphabet
	w.wantOpen("a", "127.0.0.1 8080:80/tcp, 127.0.0.1 "+port+":81/tcp")
	w.must(ops.Disconnect(box("a"), "alps", false))
	w.wantOpen("a", before)
	w.must(ops.Disconnect(box("a"), "web", false))
	w.wantOpen("a", "")
	w.must(ops.Connect(box("a"), on("a", "both")))
	if !strings.HasPrefix(w.open("a"), "0.0.0.0 8080:80/tcp, :: 8080:80/tcp") {
		t.Errorf("on another network: %s", w.open("a"))
	}
}

// TestPortsNeverOverlap starts and stops at random: no two running containers
// have a port in common, and a start is refused only for a reason.
func TestPortsNeverOverlap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newPortWorld(t)
		forms := []string{":80", "127.0.0.1 :80-83", "40000-40004:80", "127.0.0.1 40002:80", "40001-40003:1-3", ":: 40002:80", ":53/udp", "40002:53/udp"}
		for i := range 12 {
			w.must(w.publishing(fmt.Sprint(i), forms[rng.IntN(len(forms))], []string{"web", "both"}[rng.IntN(2)]))
		}
		started := 0
		for range 120 {
			id := box(fmt.Sprint(rng.IntN(12)))
			if rng.IntN(2) == 0 {
				w.must(ops.StopSandbox(id))
			} else if err := w.try(ops.StartSandbox(id)); err == nil {
				started++
			} else if !strings.Contains(err.Error(), "allocated") {
				t.Fatal(err)
			}
			checkOverlaps(t, w)
		}
		if started < 20 {
			t.Errorf("seed %d: only %d starts", seed, started)
		}
	}
}

func checkOverlaps(t *testing.T, w *world) {
	t.Helper()
	type held struct {
		who model.SandboxID
		b   model.PortBinding
	}
	var all []held
	for sb := range w.now.Sandboxes() {
		for _, b := range sb.Ports {
			if sb.Up {
				all = append(all, held{sb.ID, b})
			}
		}
	}
	for i, one := range all {
		for _, other := range all[:i] {
			if one.b.Protocol == other.b.Protocol && ports.Overlap(one.b.Host, other.b.Host) && one.b.HostPorts().Overlaps(other.b.HostPorts()) {
				t.Fatalf("%+v and %+v", one, other)
			}
		}
	}
}

// TestDefaultBindingOfABusyBridge: --ip counts for ports published from now on;
// what is open stays where it is.
func TestDefaultBindingOfABusyBridge(t *testing.T) {
	w := newPortWorld(t)
	predefine := func(host string) ops.Op {
		n := model.Network{ID: model.NetworkID(digits("n", "bridge")), Name: "bridge", Driver: "bridge", IPv4: true,
			Options: map[string]string{"com.docker.network.bridge.host_binding_ipv4": host}}
		return maker.Predefine(n, model.Network{ID: "h", Name: "host", Driver: "host"}, model.Network{ID: "n", Name: "none", Driver: "null"})
	}
	w.must(predefine("0.0.0.0"), w.publishing("a", "8080:80", "bridge"), ops.StartSandbox(box("a")))
	w.must(predefine("127.0.0.1"), w.publishing("b", "8070:80", "bridge"), ops.StartSandbox(box("b")))
	w.wantOpen("a", "0.0.0.0 8080:80/tcp, :: 8080:80/tcp")
	w.wantOpen("b", "127.0.0.1 8070:80/tcp")
}

// TestWherePortsLead: to the endpoint by whose network the container leaves in the
// family of the host's address; besides, on routed networks, to the container itself.
func TestWherePortsLead(t *testing.T) {
	routed := map[string]string{
		"com.docker.network.bridge.gateway_mode_ipv4": "routed", "com.docker.network.bridge.gateway_mode_ipv6": "routed"}
	w := newPortWorld(t)
	w.must(six("zoo", routed), w.publishing("a", "8080:80, 127.0.0.1 8081:81", "web", "zoo"), ops.StartSandbox(box("a")))
	wantLeads := func(want string) {
		t.Helper()
		sb, _ := w.now.Sandbox(box("a"))
		var got []string
		for _, b := range slices.Concat(sb.Ports, sb.Routed) {
			e, _ := w.now.Endpoint(b.Endpoint)
			n, _ := w.now.Network(e.Network)
			got = append(got, fmt.Sprintf("%s %d:%s %s", b.Host, b.HostFirst, b.Container, n.Name))
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s\nwant %s", text, want)
		}
	}
	wantLeads("0.0.0.0 0:80 zoo, :: 0:80 zoo, 127.0.0.1 0:81 zoo") // the network with both families leads out
	w.must(ops.Disconnect(box("a"), "zoo", false))
	wantLeads("0.0.0.0 8080:80 web, :: 8080:80 web, 127.0.0.1 8081:81 web")
	w.must(ops.Connect(box("a"), on("a", "both")))
	wantLeads("0.0.0.0 8080:80 both, :: 8080:80 both, 127.0.0.1 8081:81 both")
	w.must(ops.Connect(box("a"), on("a", "zoo")))
	wantLeads("0.0.0.0 8080:80 both, :: 8080:80 both, 127.0.0.1 8081:81 both, 0.0.0.0 0:80 zoo, 0.0.0.0 0:81 zoo, :: 0:80 zoo")
	w.must(ops.Disconnect(box("a"), "both", false))
	wantLeads("0.0.0.0 0:80 zoo, :: 0:80 zoo, 127.0.0.1 0:81 zoo")
}
