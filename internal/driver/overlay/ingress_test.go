package overlay

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

var (
	web = []model.IngressPort{{Protocol: model.TCP, Target: 80, Published: 8080}, {Protocol: model.UDP, Target: 53, Published: 5353}}
	one = netip.MustParseAddr("192.0.2.1") // this host
	two = netip.MustParseAddr("192.0.2.2")
)

// task is a member that a service with these ports has on a host.
func task(service, addr string, host netip.Addr, ready bool, ports ...model.IngressPort) driver.Member {
	return driver.Member{
		Endpoint: model.EndpointID(addr), VTEP: host, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Serving: ready,
		Service: &model.ServiceEndpoint{Service: service, Name: service, Ingress: ports},
	}
}

// ingress is the view of an ingress network of IPv4, with the gate at 172.18.0.2.
func ingress(members ...driver.Member) driver.View {
	v := view(model.Remote{Endpoint: "gate of two", VTEP: two, Gate: true})
	v.Network.Ingress, v.Network.IPv6 = true, false
	v.Gates, v.Members = []driver.Gate{{Addr: netip.MustParseAddr("172.18.0.2"), Host: netip.MustParseAddr("172.18.0.1")}}, members
	return v
}

// TestPublished: where a port leads, who is drained, and what other hosts may reach here.
func TestPublished(t *testing.T) {
	got := of("balance", plan(t, ingress(task("s", "10.0.1.10", one, true, web...), task("s", "10.0.1.11", two, true, web...), task("s", "10.0.1.12", two, false, web...))))
	for _, want := range []string{
		"balance ov-abcdefghijkl tcp 172.18.0.2:8080 over [10.0.1.10:80 10.0.1.11:80] draining [10.0.1.12:80] salt 192.0.2.1",
		"balance ov-abcdefghijkl udp 172.18.0.2:5353 over [10.0.1.10:53 10.0.1.11:53] draining [10.0.1.12:53] salt 192.0.2.1",
		"balance ov-abcdefghijkl ingress by " + link(4097, view().Overlay, desired.HostNamespace),
		"balance ov-abcdefghijkl ingress from 172.18.0.1 as 192.0.2.1",
		"balance ov-abcdefghijkl ingress node " + MAC(two) + " mark 0xc0000202",
		"balance ov-abcdefghijkl ingress target tcp 10.0.1.10:80",
		"balance ov-abcdefghijkl ingress target udp 10.0.1.10:53",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	if len(got) != 7 {
		t.Error(strings.Join(got, "\n"))
	}
}

// TestLocalAndSticky: a port that is local leads to this host's own tasks, and keeps who was led elsewhere before; one that
// is sticky is dealt alike by all hosts.
func TestLocalAndSticky(t *testing.T) {
	local, sticky := web[0], web[1]
	local.Local, sticky.Sticky = true, true
	got := of("balance", plan(t, ingress(task("s", "10.0.1.10", one, true, local, sticky), task("s", "10.0.1.11", two, true, local, sticky))))
	for _, want := range []string{
		"balance ov-abcdefghijkl tcp 172.18.0.2:8080 over [10.0.1.10:80] draining [10.0.1.11:80] salt 192.0.2.1",
		"balance ov-abcdefghijkl udp 172.18.0.2:5353 over [10.0.1.10:53 10.0.1.11:53] by source salt ",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	got = of("balance", plan(t, ingress(task("s", "10.0.1.11", two, true, local))))
	if want := "balance ov-abcdefghijkl tcp 172.18.0.2:8080 over [] draining [10.0.1.11:80] salt 192.0.2.1"; !slices.Contains(got, want) {
		t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
	}
}

// TestOnePortOneService: while a service that had a port is ending, the one that has it now
// gets all of its connections; and there is one row for it.
func TestOnePortOneService(t *testing.T) {
	got := of("balance", plan(t, ingress(task("a-gone", "10.0.1.10", one, false, web[0]), task("b-now", "10.0.1.11", one, true, web[0]))))
	want := "balance ov-abcdefghijkl tcp 172.18.0.2:8080 over [10.0.1.11:80] salt 192.0.2.1"
	if n := len(slices.DeleteFunc(got, func(s string) bool { return !strings.Contains(s, " over ") })); n != 1 || !slices.Contains(got, want) {
		t.Errorf("%d rows, want one:\n%s", n, strings.Join(got, "\n"))
	}
}

// TestWaysBack: answers to what another host let in go there, though it has no task.
func TestWaysBack(t *testing.T) {
	got, tunnel := plan(t, ingress()), link(4097, view().Overlay, desired.HostNamespace)
	for _, want := range []string{
		"rule ov-abcdefghijkl ipv4 fwmark 0xc0000202 lookup 3221225986",
		"route ov-abcdefghijkl 0.0.0.0/0 dev " + tunnel + " via 240.0.2.2 table 3221225986",
		"neigh ov-abcdefghijkl " + tunnel + " 240.0.2.2 lladdr " + MAC(two),
		"fdb ov-abcdefghijkl " + tunnel + " " + MAC(two) + " dst 192.0.2.2",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	other := ingress()
	other.Network.Ingress = false
	if rows := append(of("rule", plan(t, other)), of("balance", plan(t, other))...); len(rows) != 0 {
		t.Errorf("a network for containers has %v", rows)
	}
}

// TestNodeMarks: each host has its own, be it that addresses differ in their first bits alone; none that of the gate; and
// routers that nobody has, a host its own.
func TestNodeMarks(t *testing.T) {
	v := ingress()
	for i, text := range []string{"192.0.2.1", "192.0.2.2", "64.0.2.2", "80.0.2.2", "10.0.0.1", "138.0.0.1", "26.0.0.1", "0.0.0.0", "2001:db8::1", "2001:db8::2"} {
		v.Overlay.Remotes = append(v.Overlay.Remotes, model.Remote{Endpoint: model.EndpointID(strconv.Itoa(i)), VTEP: netip.MustParseAddr(text), Gate: true})
	}
	marks := nodeMarks(v)
	if len(marks) != 9 || marks[netip.MustParseAddr("64.0.2.2")] != 0xc0000202 { // without this host; 192.0.2.2 is there twice
		t.Fatalf("%d hosts have marks: %v", len(marks), marks)
	}
	seen := map[any]bool{desired.GateMark: true}
	for host, mark := range marks {
		four, six := nodeRouter(mark, model.IPv4), nodeRouter(mark, model.IPv6)
		if seen[mark] || seen[four] || seen[six] || mark <= desired.GateMark {
			t.Errorf("%s has mark %#x and the routers %s and %s", host, mark, four, six)
		}
		seen[mark], seen[four], seen[six] = true, true, true
		if !netip.MustParsePrefix("240.0.0.0/4").Contains(four) || !six.IsLinkLocalUnicast() {
			t.Errorf("%s is reached by %s and %s", host, four, six)
		}
	}
	reversed := v
	reversed.Overlay.Remotes = slices.Clone(v.Overlay.Remotes)
	slices.Reverse(reversed.Overlay.Remotes)
	if again := nodeMarks(reversed); !maps.Equal(marks, again) {
		t.Errorf("in another order: %v, and %v", marks, again)
	}
}

// TestAnswers: a task's container answers by the network that was asked, with datagrams, too.
func TestAnswers(t *testing.T) {
	v := ingress()
	v.Sandbox = model.Sandbox{Container: "0123456789abcdef", Generation: 1}
	v.Endpoint = &model.Endpoint{
		ID: "e", Interface: "eth0", MAC: "02:42:0a:00:01:0a", Addr4: netip.MustParseAddr("10.0.1.10"), Service: &model.ServiceEndpoint{Ingress: web},
	}
	got := plan(t, v)
	for _, want := range []string{
		"rule 0123456789ab ipv4 from 10.0.1.10 lookup 27763",
		"route 0123456789ab 0.0.0.0/0 dev eth0 via 10.0.1.1 table 27763",
		"rule 0123456789ab ipv4 ipproto udp sport 53 lookup main suppress_prefixlength 0",
		"rule 0123456789ab ipv4 ipproto udp sport 53 lookup 27763",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	v.Endpoint.Service = &model.ServiceEndpoint{}
	if rows := of("rule", plan(t, v)); len(rows) != 0 {
		t.Errorf("without published ports: %v", rows)
	}
}
