package kernel_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/model"
)

// portLab is a lab with a real firewall, whose host routes localhost to the
// bridge, and a client there that keeps one UDP socket.
type portLab struct {
	lab
	client net.PacketConn
}

func newPortLab(t *testing.T) portLab {
	t.Helper()
	host := kerneltest.New(t)
	file, err := os.Open(host.Netns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	firewall, err := nft.New(nft.Options{Instance: instance, NetNS: int(file.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { firewall.Close() })
	l := portLab{lab: labOn(t, host, firewall)}
	l.sh(t, desired.HostNamespace, "ip link set lo up")
	host.Do(t, func() {
		l.client, err = net.ListenPacket("udp", ":4000")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.client.Close() })
	return l
}

// container answers on UDP port 5353 with its name, until the test ends.
func (l portLab) container(t *testing.T, i int) {
	t.Helper()
	var s net.PacketConn
	err := l.Netns().Do(t.Context(), kerneltest.Space(i), func() (err error) {
		s, err = net.ListenPacket("udp", ":5353")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = s.WriteTo([]byte(kerneltest.Space(i)), from) // the client asks again
		}
	}()
}

// asks sends a datagram and returns who answers; empty if nobody does. Answers
// to earlier ones count as well.
func (l portLab) asks(t *testing.T, address string) string {
	t.Helper()
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
	if _, err := l.client.WriteTo([]byte("who"), to); err != nil && !isRefused(err) {
		t.Fatal(err)
	}
	_ = l.client.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // a UDP socket takes any
	b := make([]byte, 100)
	n, _, err := l.client.ReadFrom(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

// isSilent asks more than once, so that late answers do not count.
func (l portLab) isSilent(t *testing.T, address string) bool {
	for range 3 {
		if l.asks(t, address) != "" {
			return false
		}
	}
	return true
}

func isRefused(err error) bool {
	return os.IsPermission(err) || errors.Is(err, unix.ECONNREFUSED)
}

// firewallRows open the network of kerneltest to its own ports.
func firewallRows(containers ...int) []desired.Row {
	rows := []desired.Row{
		desired.BridgePolicy{Bridge: kerneltest.Bridge, ICC: true},
		desired.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"},
		desired.Sysctl{Path: "net/ipv6/conf/all/forwarding", Value: "1"},
		desired.Sysctl{Path: "net/ipv4/conf/" + kerneltest.Bridge + "/route_localnet", Value: "1"},
	}
	for _, i := range containers {
		e := kerneltest.Endpoint(i)
		peer := e[0].(desired.Link).Peer
		rows = append(rows, desired.PortSecurity{
			Port: kerneltest.Port(i), Bridge: kerneltest.Bridge, MAC: peer.MAC,
			Addrs: []netip.Addr{e[3].(desired.Addr).Prefix.Addr(), e[4].(desired.Addr).Prefix.Addr()},
		})
	}
	return rows
}

// publishedBy are port 53 of every address in both families, to a container.
func publishedBy(i int) []desired.Row {
	var rows []desired.Row
	for at, any := range map[int]netip.Addr{3: netip.IPv4Unspecified(), 4: netip.IPv6Unspecified()} {
		rows = append(rows, desired.Publish{
			Protocol: model.UDP, Host: any, First: 53, Last: 53, ToFirst: 5353, Bridge: kerneltest.Bridge,
			To: kerneltest.Endpoint(i)[at].(desired.Addr).Prefix.Addr(),
		})
	}
	return rows
}

// TestReplacedContainer: a client that keeps sending from one port, and so keeps
// its connection alive in the kernel, reaches whoever has the port now: at once
// exchanged, after a while without, and in both families.
func TestReplacedContainer(t *testing.T) {
	const owner = desired.Owner("test/ports")
	l := newPortLab(t)
	attached := kerneltest.With(t, kerneltest.Attached(t, 3), "test/policy", firewallRows(0, 1, 2)...)
	by := func(i int) desired.State { return kerneltest.With(t, attached, owner, publishedBy(i)...) }
	l.apply(t, desired.State{}, attached)
	for i := range 3 {
		l.container(t, i)
	}
	for _, address := range []string{"127.0.0.1:53", "10.9.0.1:53", "[fd00:9::1]:53"} {
		reaches := func(i int) {
			t.Helper()
			eventually(t, fmt.Sprintf("%s leads to container %d", address, i), func() bool {
				return l.asks(t, address) == kerneltest.Space(i)
			})
		}
		l.asks(t, address) // before there is anybody
		l.apply(t, attached, by(0))
		reaches(0)
		l.apply(t, by(0), by(1))
		reaches(1)
		l.apply(t, by(1), attached)
		eventually(t, "nobody answers", func() bool { return l.isSilent(t, address) })
		l.apply(t, attached, by(2))
		reaches(2)
		l.apply(t, by(2), attached)
	}
}

// TestPortsAfterFlush: the ruleset is lost and the client's connection with it
// leads nowhere, until a resync puts both right; a second one changes nothing.
func TestPortsAfterFlush(t *testing.T) {
	l := newPortLab(t)
	want := kerneltest.With(t, kerneltest.Attached(t, 1), "test/policy", append(firewallRows(0), publishedBy(0)...)...)
	l.apply(t, desired.State{}, want)
	l.container(t, 0)
	const address = "10.9.0.1:53"
	answers := func() bool { return l.asks(t, address) == kerneltest.Space(0) }
	eventually(t, "the container answers", answers)
	l.sh(t, desired.HostNamespace, "nft flush ruleset; conntrack -F 2>/dev/null; true")
	eventually(t, "nobody answers", func() bool { return l.isSilent(t, address) })
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes == 0 {
		t.Fatalf("resync: %+v, %v", r, err)
	}
	eventually(t, "the container answers again", answers)
	if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 {
		t.Errorf("second resync: %+v, %v", r, err)
	}
}

// TestTraffic: what crosses the border of a network is counted, for its ports
// and for itself.
func TestTraffic(t *testing.T) {
	l := newPortLab(t)
	want := kerneltest.With(t, kerneltest.Attached(t, 1), "test/policy", append(firewallRows(0), publishedBy(0)...)...)
	l.apply(t, desired.State{}, want)
	l.container(t, 0)
	eventually(t, "the container answers", func() bool { return l.asks(t, "10.9.0.1:53") == kerneltest.Space(0) })
	got, err := l.Traffic(t.Context())
	isBridge := func(b facts.BridgeTraffic) bool { return b.Bridge == kerneltest.Bridge } // a parent may be one, too
	at := slices.IndexFunc(got.Bridges, isBridge)
	if err != nil || len(got.Ports) != 2 || at < 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if p := got.Ports[0]; p.Host != netip.IPv4Unspecified() || p.Connections == 0 || p.Bytes < 2*28 {
		t.Errorf("port: %+v", p)
	}
	if b := got.Bridges[at]; b.InBytes == 0 || b.OutBytes == 0 || b.InPackets == 0 || b.OutPackets == 0 {
		t.Errorf("bridge: %+v", b)
	}
}

// TestContainerReachesItself by a published port, whether or not bridged packets
// pass through iptables; and a port that lost what it needs for it is repaired.
func TestContainerReachesItself(t *testing.T) {
	for _, call := range []string{"0", "1"} {
		t.Run("bridge-nf-call="+call, func(t *testing.T) {
			l := newPortLab(t)
			l.sh(t, desired.HostNamespace, "cd /proc/sys/net/bridge && echo "+call+" | tee bridge-nf-call-iptables bridge-nf-call-ip6tables")
			want := kerneltest.With(t, kerneltest.Attached(t, 1), "test/policy", append(firewallRows(0), publishedBy(0)...)...)
			l.apply(t, desired.State{}, want)
			l.container(t, 0)
			l.clientIn(t, kerneltest.Space(0))
			reached := func() {
				t.Helper()
				for _, address := range []string{"10.9.0.1:53", "[fd00:9::1]:53"} {
					eventually(t, "reaches itself at "+address, func() bool { return l.asks(t, address) == kerneltest.Space(0) })
				}
			}
			reached()
			l.sh(t, desired.HostNamespace, "ip link set "+kerneltest.Port(0)+" type bridge_slave hairpin off")
			r, err := l.Resync(t.Context(), want)
			if err != nil || len(r.Drift) != 1 || !strings.Contains(r.Drift[0], "hairpin") || r.Writes != 1 {
				t.Errorf("resync: %+v, %v", r, err)
			}
			reached()
		})
	}
}

// clientIn moves the client to a container.
func (l *portLab) clientIn(t *testing.T, space string) {
	t.Helper()
	err := l.Netns().Do(t.Context(), space, func() (err error) {
		l.client, err = net.ListenPacket("udp", ":4000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.client.Close() })
}

// TestPortTakenOver: in one pass one port goes and a range comes that has it too.
func TestPortTakenOver(t *testing.T) {
	l := newPortLab(t)
	single := desired.Publish{
		Protocol: model.TCP, Host: netip.IPv4Unspecified(), First: 80, Last: 80,
		To: netip.MustParseAddr("10.9.1.1"), ToFirst: 8080, Bridge: kerneltest.Bridge,
	}
	several := single
	several.First, several.Last = 79, 81
	before := kerneltest.With(t, desired.State{}, "test/a", single)
	after := kerneltest.With(t, desired.State{}, "test/b", several)
	l.apply(t, desired.State{}, before)
	l.apply(t, before, after)
	if r, err := l.Check(t.Context(), after); err != nil || len(r.Drift) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	l.apply(t, after, before)
	if r, err := l.Check(t.Context(), before); err != nil || len(r.Drift) != 0 {
		t.Errorf("and back: %+v, %v", r, err)
	}
}
