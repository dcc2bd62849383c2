package conntrack

import (
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if flow, err := parse(b); err == nil && flow.orig.source.IsValid() && flow.family != b[0] {
			t.Error("the family is not the message's")
		}
	})
}

// TestFlusher: what is asked for during a round is in the next one, and who
// waits for an address waits for its round.
func TestFlusher(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	rounds := make(chan struct{})
	f := NewFlusher(func(string, func() error) error {
		rounds <- struct{}{} // begins
		<-rounds             // may end
		return errors.New("only logged")
	}, slog.New(slog.DiscardHandler))
	f.Forget(desired.HostNamespace, gone(a))
	<-rounds
	f.Forget(desired.HostNamespace, gone(b, a))
	f.Forget(desired.HostNamespace, Stale{})
	if err := f.Await(t.Context(), []netip.Addr{c}); err != nil {
		t.Error(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Await(t.Context(), []netip.Addr{b}) }()
	rounds <- struct{}{}
	<-rounds
	select {
	case err := <-done:
		t.Errorf("did not wait for the second round: %v", err)
	default:
	}
	rounds <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.Close()
}

func gone(addrs ...netip.Addr) Stale {
	s := nothing()
	for _, a := range addrs {
		s.Addrs[a] = true
	}
	return s
}

// connection is a flow from a client to a port, and who answers.
func connection(protocol byte, status uint32, destination, answerer string) flow {
	to, from := netip.MustParseAddrPort(destination), netip.MustParseAddrPort(answerer)
	client := netip.MustParseAddr("198.51.100.9")
	return flow{
		protocol: protocol, status: status,
		orig:  direction{source: client, sourcePort: 4000, destination: to.Addr(), destinationPort: to.Port()},
		reply: direction{source: from.Addr(), sourcePort: from.Port(), destination: client, destinationPort: 4000},
	}
}

func TestStale(t *testing.T) {
	const udp, tcp = unix.IPPROTO_UDP, unix.IPPROTO_TCP
	everywhere := desired.Publish{
		Protocol: model.UDP, Host: netip.IPv4Unspecified(), First: 53, Last: 53,
		To: netip.MustParseAddr("172.17.0.2"), ToFirst: 5353,
	}
	ranged := everywhere
	ranged.Protocol, ranged.First, ranged.Last, ranged.ToFirst = model.TCP, 8000, 8009, 80
	one := everywhere
	one.Host = netip.MustParseAddr("192.0.2.1")
	six := everywhere
	six.Host, six.To = netip.IPv6Unspecified(), netip.MustParseAddr("fd00::2")
	for _, c := range []struct {
		name                 string
		port                 desired.Publish
		flow                 flow
		published, withdrawn bool // stale after
	}{
		{"leads there", everywhere, connection(udp, statusDestinationNAT, "192.0.2.1:53", "172.17.0.2:5353"), false, true},
		{"leads there, by localhost", everywhere, connection(udp, statusDestinationNAT, "127.0.0.1:53", "172.17.0.2:5353"), false, true},
		{"leads to the host", everywhere, connection(udp, 0, "192.0.2.1:53", "192.0.2.1:53"), true, false},
		{"leads to the host, answered", everywhere, connection(udp, statusAssured, "192.0.2.1:53", "192.0.2.1:53"), true, false},
		{"leads to a previous container", everywhere, connection(udp, statusDestinationNAT, "192.0.2.1:53", "172.17.0.9:5353"), true, false},
		{"leads to another port of it", everywhere, connection(udp, statusDestinationNAT, "192.0.2.1:53", "172.17.0.2:53"), true, false},
		{"to a server elsewhere", everywhere, connection(udp, 0, "8.8.8.8:53", "8.8.8.8:53"), false, false},
		{"another protocol", everywhere, connection(tcp, 0, "192.0.2.1:53", "192.0.2.1:53"), false, false},
		{"another port", everywhere, connection(udp, 0, "192.0.2.1:5353", "192.0.2.1:5353"), false, false},
		{"the container's port on the host", everywhere, connection(udp, statusDestinationNAT, "192.0.2.1:5353", "172.17.0.2:5353"), false, false},
		{"another host address", one, connection(udp, statusDestinationNAT, "192.0.2.2:53", "172.17.0.2:5353"), false, false},
		{"the same host address", one, connection(udp, statusDestinationNAT, "192.0.2.1:53", "172.17.0.3:5353"), true, false},
		{"range leads there", ranged, connection(tcp, statusDestinationNAT|statusAssured, "192.0.2.1:8009", "172.17.0.2:89"), false, true},
		{"range leads beside", ranged, connection(tcp, statusDestinationNAT|statusAssured, "192.0.2.1:8009", "172.17.0.2:88"), true, false},
		{"behind the range", ranged, connection(tcp, statusDestinationNAT, "192.0.2.1:8010", "172.17.0.2:90"), false, false},
		{"TCP that nobody answered", ranged, connection(tcp, 0, "192.0.2.1:8000", "192.0.2.1:8000"), true, false},
		{"TCP that the host answered", ranged, connection(tcp, statusAssured, "192.0.2.1:8000", "192.0.2.1:8000"), false, false},
		{"IPv6", six, connection(udp, statusDestinationNAT, "[2001:db8::1]:53", "[fd00::9]:5353"), true, false},
		{"IPv6, leads there", six, connection(udp, statusDestinationNAT, "[2001:db8::1]:53", "[fd00::2]:5353"), false, true},
		{"IPv4 for an IPv6 port", six, connection(udp, 0, "192.0.2.1:53", "192.0.2.1:53"), false, false},
	} {
		for change, want := range map[Change]bool{Published: c.published, Withdrawn: c.withdrawn} {
			f, err := Stale{Ports: map[desired.Publish]Change{c.port: change}}.filter()
			if err != nil {
				t.Fatal(err)
			}
			f.local = map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true, netip.MustParseAddr("192.0.2.2"): true, netip.MustParseAddr("2001:db8::1"): true}
			if got := f.matches(c.flow); got != want {
				t.Errorf("%s: published=%t: stale=%t", c.name, change, got)
			}
		}
	}
}

// TestLaterChangeCounts: a port that comes back before a round has begun keeps
// its new connections.
func TestLaterChangeCounts(t *testing.T) {
	p := desired.Publish{Protocol: model.TCP, First: 80, Last: 80}
	s := nothing()
	s.merge(Stale{Ports: map[desired.Publish]Change{p: Withdrawn}})
	s.merge(Stale{Ports: map[desired.Publish]Change{p: Published}})
	if got, there := s.Ports[p]; !there || got != Published {
		t.Errorf("got %v", s)
	}
}

// TestBackendsThatAreGone: of a service's connections those go that lead to a backend which
// is neither ready nor draining any more, whatever their protocol.
func TestBackendsThatAreGone(t *testing.T) {
	const udp, tcp = unix.IPPROTO_UDP, unix.IPPROTO_TCP
	at := func(texts ...string) (out []netip.AddrPort) {
		for _, text := range texts {
			out = append(out, netip.MustParseAddrPort(text))
		}
		return out
	}
	vip := desired.Frontend{Addr: netip.MustParseAddr("10.0.0.9")}
	port := desired.Frontend{Addr: netip.MustParseAddr("10.0.0.8"), Protocol: model.TCP, Port: 80}
	gone := nothing()
	gone.merge(OfBackends(desired.Delta{
		Old: desired.Balance{To: vip, Backends: at("10.0.0.1:0", "10.0.0.2:0"), Draining: at("10.0.0.3:0", "10.0.0.4:0")},
		New: desired.Balance{To: vip, Backends: at("10.0.0.1:0", "10.0.0.4:0"), Draining: nil},
	}))
	gone.merge(OfBackends(desired.Delta{Old: desired.Balance{To: port, Backends: at("10.0.0.1:8000")}}))
	gone.merge(OfBackends(desired.Delta{New: desired.Balance{To: port, Backends: at("10.0.0.5:8000")}}))
	gone.merge(OfBackends(desired.Delta{Old: desired.Hairpin{}}))
	f, err := gone.filter()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		flow  flow
		stale bool
	}{
		{"ready", connection(udp, 0, "10.0.0.9:53", "10.0.0.1:53"), false},
		{"gone", connection(udp, 0, "10.0.0.9:53", "10.0.0.2:53"), true},
		{"gone, another protocol", connection(tcp, statusAssured, "10.0.0.9:53", "10.0.0.2:53"), true},
		{"drained", connection(udp, 0, "10.0.0.9:53", "10.0.0.3:53"), true},
		{"ready again", connection(udp, 0, "10.0.0.9:53", "10.0.0.4:53"), false},
		{"by its own address", connection(udp, 0, "10.0.0.2:53", "10.0.0.2:53"), false},
		{"by a port", connection(tcp, 0, "10.0.0.8:80", "10.0.0.1:8000"), true},
		{"by another port", connection(tcp, 0, "10.0.0.8:81", "10.0.0.1:8000"), false},
		{"by another protocol's port", connection(udp, 0, "10.0.0.8:80", "10.0.0.1:8000"), false},
	} {
		if got := f.matches(c.flow); got != c.stale {
			t.Errorf("%s: stale=%t", c.name, got)
		}
	}
}
