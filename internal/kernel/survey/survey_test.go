package survey

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/model"
)

func surveyor(t *testing.T) *Surveyor {
	t.Helper()
	s := New(Options{Listeners: func(_ context.Context, port uint16) ([]facts.Listener, error) {
		return []facts.Listener{{Protocol: model.TCP, At: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Who: "process x, pid 1"}}, nil
	}})
	t.Cleanup(s.Close)
	return s
}

// TestView looks into a namespace with one address, one route and one listener.
func TestView(t *testing.T) {
	host := kerneltest.New(t)
	var l net.Listener
	var failed error
	host.Do(t, func() {
		lo, err := netlink.LinkByName("lo")
		if failed = err; err == nil {
			failed = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 7), Mask: net.CIDRMask(24, 32)}})
		}
		if failed == nil {
			l, failed = net.Listen("tcp4", "127.0.0.1:0")
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	defer l.Close()
	s, at := surveyor(t), netip.MustParseAddrPort(l.Addr().String())
	v, err := s.View(t.Context(), evidence.ViewQuestion{
		Namespace: host.Netns, To: netip.MustParseAddr("127.0.0.1"), Settings: []string{"net/ipv4/ip_forward", "net/nothing", "../../etc/passwd"},
		Sockets: true, Port: at.Port(), Rules: true, Protocol: model.TCP, From: netip.MustParseAddr("127.0.0.1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case v.AddrsOn[netip.MustParseAddr("192.0.2.7")] != "lo":
		t.Errorf("addresses: %v", v.AddrsOn)
	case !v.Route.Local || v.Route.Link != "lo":
		t.Errorf("route: %+v", v.Route)
	case len(v.Settings) != 1 || v.Settings["net/ipv4/ip_forward"] == "":
		t.Errorf("settings: %v", v.Settings)
	case len(v.Sockets) != 1 || v.Sockets[0].Backlog == 0 || v.Sockets[0].Waiting != 0:
		t.Errorf("sockets: %+v", v.Sockets)
	case !v.Rules.Asked || v.Rules.Outcome != string(facts.OutcomeAccepted):
		t.Errorf("rules: %+v", v.Rules)
	}
	if v, err := s.View(t.Context(), evidence.ViewQuestion{Namespace: host.Netns, To: netip.MustParseAddr("203.0.113.1")}); err != nil || v.Route.Err != "network is unreachable" {
		t.Errorf("a way to nowhere: %+v, %v", v.Route, err)
	}
	for _, path := range []string{"/etc/passwd", "/nothing", "/proc/self/ns/mnt"} {
		if _, err := s.View(t.Context(), evidence.ViewQuestion{Namespace: path}); err == nil {
			t.Errorf("%s was looked into", path)
		}
	}
}

// TestProbe: attempts tell who answers, who refuses, and where there is no way.
func TestProbe(t *testing.T) {
	host := kerneltest.New(t)
	var l net.Listener
	var failed error
	host.Do(t, func() { l, failed = net.Listen("tcp4", "127.0.0.1:0") })
	if failed != nil {
		t.Fatal(failed)
	}
	open := netip.MustParseAddrPort(l.Addr().String())
	s := surveyor(t)
	try := func(protocol model.Protocol, to netip.AddrPort) evidence.Probe {
		return s.Probe(t.Context(), evidence.ProbeQuestion{Namespace: host.Netns, Protocol: protocol, To: to, Timeout: 5 * time.Second})
	}
	if p := try(model.TCP, open); p.Result != evidence.ProbeConnected || p.From != open.Addr() {
		t.Errorf("open: %+v", p)
	}
	_ = l.Close()
	for name, c := range map[string]struct {
		protocol model.Protocol
		to       string
		want     evidence.ProbeResult
	}{
		"closed": {model.TCP, open.String(), evidence.ProbeRefused}, "closed UDP": {model.UDP, "127.0.0.1:9", evidence.ProbeRefused},
		"ping": {"", "127.0.0.1:0", evidence.ProbeConnected}, "ping 6": {"", "[::1]:0", evidence.ProbeConnected},
		"no way": {model.TCP, "203.0.113.1:80", evidence.ProbeUnreachable}, "SCTP": {model.SCTP, "127.0.0.1:9", evidence.ProbeNone},
	} {
		if p := try(c.protocol, netip.MustParseAddrPort(c.to)); p.Result != c.want {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestAsk: a name server that answers, and none.
func TestAsk(t *testing.T) {
	host := kerneltest.New(t)
	var conn net.PacketConn
	var failed error
	host.Do(t, func() { conn, failed = net.ListenPacket("udp4", "127.0.0.1:53") })
	if failed != nil {
		t.Fatal(failed)
	}
	go answerAll(conn)
	s := surveyor(t)
	ask := func(name string) evidence.NameServer {
		return s.Ask(t.Context(), evidence.NameQuestion{Namespace: host.Netns, Server: netip.MustParseAddr("127.0.0.1"), Name: name, Timeout: 5 * time.Second})
	}
	if got := ask("web.test"); got.Answer != evidence.Answered || len(got.Addrs) != 1 || got.Addrs[0].String() != "192.0.2.7" {
		t.Errorf("%+v", got)
	}
	if got := ask("no.test"); got.Answer != evidence.NoName {
		t.Errorf("%+v", got)
	}
	_ = conn.Close()
	if got := ask("web.test"); got.Answer != evidence.Silent || got.Err == "" {
		t.Errorf("%+v", got)
	}
	if got := ask(strings.Repeat("x", 300)); got.Answer != evidence.Silent || got.Err == "" {
		t.Errorf("an impossible name: %+v", got)
	}
}

// answerAll says that every name but those of "no" has an address, until it is closed. What
// is no answer comes first each time.
func answerAll(conn net.PacketConn) {
	buffer := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response = true
		if q := m.Questions[0]; strings.HasPrefix(q.Name.String(), "no.") {
			m.RCode = dnsmessage.RCodeNameError
		} else {
			m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}}}}
		}
		m.ID++
		wrong, _ := m.Pack()
		m.ID--
		right, _ := m.Pack()
		for _, raw := range [][]byte{[]byte("nonsense"), wrong, right} {
			_, _ = conn.WriteTo(raw, from) // who asked may be gone
		}
	}
}

// FuzzAnswer: nothing that a name server says makes more of it than is shown.
func FuzzAnswer(f *testing.F) {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	raw, _ := m.Pack()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m dnsmessage.Message
		if m.Unpack(raw) != nil {
			return
		}
		answer, addrs, err := answered(m)
		if err != nil || len(addrs) > maxAddresses || (answer == evidence.Answered) != (len(addrs) > 0) {
			t.Errorf("%s %v %v", answer, addrs, err)
		}
	})
}

// TestHost: a look at a whole machine finds what every machine has, and leaves nothing.
func TestHost(t *testing.T) {
	host := kerneltest.New(t)
	s := surveyor(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no name server is asked, no socket is waited for
	before, err := s.View(t.Context(), evidence.ViewQuestion{Namespace: host.Netns})
	if err != nil || len(before.Links) == 0 {
		t.Fatalf("links: %v, %v", before.Links, err)
	}
	var h evidence.Host
	host.Do(t, func() { h = s.Host(ctx, t.TempDir()+"/not/there", "") })
	if h.Kernel == "" || h.Cgroup == "" || len(h.Disks) != 1 || h.Disks[0].Size == 0 || !slices.Equal(h.Links, before.Links) || h.Lacks["veth"] != "" || h.Lacks["bridge"] != "" {
		t.Errorf("%+v", h)
	}
	if after, err := s.View(t.Context(), evidence.ViewQuestion{Namespace: host.Netns}); err != nil || !slices.Equal(after.Links, before.Links) {
		t.Errorf("links: %v, %v", after.Links, err)
	}
	if d, err := s.Descriptors("me", os.Getpid()); err != nil || d.Open == 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestDockersBridges: only names that Docker computes are taken for a dockerd's.
func TestDockersBridges(t *testing.T) {
	for name, want := range map[string]bool{"br-0123456789ab": true, "br-lan": false, "br-0123456789abc": false, "br0": false, "br-0123456789aX": false} {
		if got := isDockerBridge(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
	h := evidence.Host{Links: []evidence.Link{
		{Name: "docker0", Kind: "bridge"}, {Name: "br-0123456789ab", Kind: "bridge", Alias: "linkspan:mine:network/1"}, {Name: "x", Alias: "linkspan:other:network/2"}, {Name: "virbr0", Kind: "bridge"},
	}}
	var got []string
	for _, l := range leftovers(h, "mine") {
		got = append(got, l.What+" of "+l.Of)
	}
	if want := "interface docker0 of a dockerd;interface x of another linkspand (linkspan:other:network/2)"; strings.Join(got, ";") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
