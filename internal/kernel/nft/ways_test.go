package nft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// stage is a host with one container, "web", and another machine, all with real
// stacks. web answers on port 80 with the address that it sees.
type stage struct {
	host, web, out *namespace
	backend        *Backend
}

func newStage(t testing.TB, bridgeNetfilter bool, rows ...desired.Row) *stage {
	t.Helper()
	s := &stage{host: newNamespace(t), web: newNamespace(t), out: newNamespace(t)}
	s.host.sysctl("net/ipv4/ip_forward", "1")
	s.host.sysctl("net/ipv6/conf/all/forwarding", "1")
	call := map[bool]string{false: "0", true: "1"}[bridgeNetfilter]
	s.host.sysctl("net/bridge/bridge-nf-call-iptables", call)
	s.host.sysctl("net/bridge/bridge-nf-call-ip6tables", call)
	s.host.bridge("br-a", "02:00:00:00:00:0a", "10.1.0.1/24", "fd01::1/64")
	cable(s.host, "va1", "02:00:00:00:00:0b", s.web, "eth0", "02:00:00:00:0a:01")
	s.host.enslave("va1", "br-a", desired.PortGroup)
	s.host.port("va1")
	s.web.address("eth0", "10.1.0.11/24", "fd01::11/64")
	s.web.route("10.1.0.1", "fd01::1")
	cable(s.host, "eth0", uplinkMAC, s.out, "eth0", "02:00:00:00:ff:02")
	s.host.address("eth0", "192.0.2.1/24", "2001:db8::1/64")
	s.out.address("eth0", "192.0.2.2/24", "2001:db8::2/64")
	s.backend = newBackend(t, s.host)
	resync(t, s.backend, append(stageRows(), rows...)...)
	s.host.fence(desired.Fence{Link: "br-a", Localhost: true})
	s.host.sysctl("net/ipv4/conf/br-a/route_localnet", "1")
	s.serve(t)
	return s
}

func stageRows() []desired.Row {
	return []desired.Row{
		desired.BridgePolicy{Bridge: "br-a", ICC: true},
		desired.Masquerade{Bridge: "br-a", Subnet: prefix("10.1.0.0/24")},
		desired.Masquerade{Bridge: "br-a", Subnet: prefix("fd01::/64")},
		desired.PortSecurity{Port: "va1", Bridge: "br-a", MAC: "02:00:00:00:0a:01", Addrs: addrs("10.1.0.11", "fd01::11")},
	}
}

func (n *namespace) route(gateways ...string) {
	n.t.Helper()
	for _, g := range gateways {
		n.must(n.link.RouteAdd(&netlink.Route{Gw: net.ParseIP(g)}))
	}
}

func (n *namespace) listen(address string) (l net.Listener) {
	n.t.Helper()
	n.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	n.t.Cleanup(func() { l.Close() })
	return l
}

func (s *stage) serve(t testing.TB) {
	t.Helper()
	greet(s.web.listen(":80"), "")
}

// greet tells each client its address, until the listener is closed.
func greet(l net.Listener, greeting string) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			peer := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr().Unmap()
			_, _ = io.WriteString(c, greeting+peer.String()) // a client that is gone hears nothing
			c.Close()
		}
	}()
}

// ask connects from a namespace and returns what it hears; empty if nobody
// answers.
func (n *namespace) ask(address string, patience time.Duration) (heard string) {
	n.t.Helper()
	n.do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience)) // a fresh socket takes any
		b, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && len(b) > 0 {
			return err
		}
		heard = string(b)
		return nil
	})
	return heard
}

const (
	enough = 5 * time.Second
	brief  = 300 * time.Millisecond // to be sure that nobody answers
)

func bothPorts() []desired.Row {
	return []desired.Row{
		publish(model.TCP, "0.0.0.0", 8080, 8080, "10.1.0.11", 80),
		publish(model.TCP, "::", 8080, 8080, "fd01::11", 80),
		publish(model.TCP, "127.0.0.1", 8082, 8082, "10.1.0.11", 80),
		publish(model.TCP, uplink4, 8083, 8083, "10.1.0.11", 80),
		publish(model.TCP, uplink6, 8083, 8083, "fd01::11", 80),
		publish(model.TCP, "0.0.0.0", 78, 82, "10.1.0.11", 78),
		publish(model.TCP, "::", 78, 82, "fd01::11", 78),
		publish(model.TCP, uplink4, 9000, 9010, "10.1.0.11", 75),
	}
}

// TestWaysIn connects to published ports from everywhere, and looks at who the
// service thinks is there.
func TestWaysIn(t *testing.T) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			s := newStage(t, bridgeNetfilter, bothPorts()...)
			greet(s.host.listen("[::1]:8080"), "forwarder ") // of user space
			for _, c := range []struct {
				from    *namespace
				to, saw string
			}{
				{s.out, "192.0.2.1:8080", "192.0.2.2"},
				{s.out, "[2001:db8::1]:8080", "2001:db8::2"},
				{s.out, "192.0.2.1:8083", "192.0.2.2"},
				{s.out, "[2001:db8::1]:8083", "2001:db8::2"},
				{s.out, "192.0.2.1:80", "192.0.2.2"},
				{s.out, "[2001:db8::1]:80", "2001:db8::2"},
				{s.out, "192.0.2.1:9005", "192.0.2.2"},
				{s.out, "192.0.2.1:9006", ""}, // port 81 in the container, where nobody listens
				{s.out, "192.0.2.1:8082", ""}, // published on 127.0.0.1
				{s.out, "192.0.2.1:8081", ""}, // not published
				{s.host, "127.0.0.1:8080", "10.1.0.1"},
				{s.host, "127.9.9.9:8080", "10.1.0.1"},
				{s.host, "127.0.0.1:8082", "10.1.0.1"},
				{s.host, "127.0.0.1:80", "10.1.0.1"},
				{s.host, "127.0.0.1:8083", ""},
				{s.host, "192.0.2.1:8080", "192.0.2.1"},
				{s.host, "10.1.0.1:8080", "10.1.0.1"},
				{s.host, "[2001:db8::1]:8080", "2001:db8::1"},
				{s.host, "[fd01::1]:8080", "fd01::1"},
				{s.host, "[::1]:8080", "forwarder ::1"},
				{s.web, "192.0.2.1:8080", "10.1.0.1"}, // itself
				{s.web, "10.1.0.1:8080", "10.1.0.1"},
				{s.web, "[2001:db8::1]:8080", "fd01::1"},
				{s.web, "192.0.2.1:8082", ""},
			} {
				patience := enough
				if c.saw == "" {
					patience = brief
				}
				if got := c.from.ask(c.to, patience); got != c.saw {
					t.Errorf("%s from %s: %q, want %q", c.to, s.name(c.from), got, c.saw)
				}
			}
		})
	}
}

func (s *stage) name(n *namespace) string {
	switch n {
	case s.host:
		return "the host"
	case s.web:
		return "the container"
	}
	return "outside"
}

// TestLocalhostServiceIsClosed looks for frames from outside and from containers
// that get to a service of the host that listens on 127.0.0.1 alone, with every
// interface routing localhost.
func TestLocalhostServiceIsClosed(t *testing.T) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := newLab(t, bridgeNetfilter)
			var service net.PacketConn
			l.host.do(func() (err error) {
				service, err = net.ListenPacket("udp", "127.0.0.1:9999")
				return err
			})
			defer service.Close()
			frames := func(id int) {
				for _, from := range []string{"a1", "b1", "manual", "out"} {
					l.send(from, visit{from: from, ip: "127.0.0.1", port: 9999}.to("", from, 0).frame(id))
					l.send(from, visit{from: from, ip: "127.0.0.1", port: 9999, src: "127.0.0.1"}.to("", from, 0).frame(id))
				}
			}
			frames(1) // without a firewall they get there: the test would notice
			if n := datagrams(t, service, l.host); n == 0 {
				t.Skip("this kernel does not let them through in the first place")
			}
			resync(t, newBackend(t, l.host), labRows(false)...)
			frames(2)
			if n := datagrams(t, service, l.host); n != 0 {
				t.Errorf("%d datagrams got to the host's 127.0.0.1", n)
			}
		})
	}
}

// TestLocalhostStaysClosedWithoutRules: the host's 127.0.0.1 is out of reach of those on
// a bridge that routes localhost, also while there is no table of ours, in and under
// VLAN tags (those of VLAN 0 are for everybody), and with br_netfilter.
func TestLocalhostStaysClosedWithoutRules(t *testing.T) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := newLab(t, bridgeNetfilter)
			l.host.sysctl("net/ipv4/conf/all/route_localnet", "0")
			l.host.sysctl("net/ipv4/conf/br-a/route_localnet", "1")
			var service net.PacketConn
			l.host.do(func() (err error) {
				service, err = net.ListenPacket("udp", "127.0.0.1:9999")
				return err
			})
			defer service.Close()
			send := func(id int) {
				for _, from := range []string{"a1", "manual", "dead"} {
					for _, src := range []string{"", "127.0.0.1", "127.1.2.3"} {
						plain := visit{from: from, ip: "127.0.0.1", port: 9999, src: src}.to("", from, 0).frame(id)
						once := ether(placeOf(from).gatewayMAC(), placeOf(from).mac, etherVLAN, []byte{0, 0}, plain[12:])
						twice := ether(placeOf(from).gatewayMAC(), placeOf(from).mac, etherVLAN, []byte{0, 0}, once[12:])
						for _, frame := range [][]byte{plain, once, twice} {
							l.send(from, frame)
						}
					}
				}
			}
			send(1)
			if n := datagrams(t, service, l.host); n == 0 {
				t.Fatal("nothing gets there in the first place: the test would not notice")
			}
			l.host.fence(desired.Fence{Link: "br-a", Localhost: true})
			send(2)
			if n := datagrams(t, service, l.host); n != 0 {
				t.Errorf("%d datagrams got to the host's 127.0.0.1", n)
			}
		})
	}
}

// TestInternalStaysClosedWithoutRules: nothing leaves an internal network, or enters
// it, while there is no table of ours. Its own containers and the host go on.
func TestInternalStaysClosedWithoutRules(t *testing.T) {
	l := newLab(t, false)
	l.host.fence(desired.Fence{Link: "br-i", Inside: []netip.Prefix{prefix("10.3.0.0/24"), prefix("fd03::/64")}})
	closed := slices.Concat(
		udpTrials("out", "i1", "out", false), udpTrials("to another network", "i1", "a1", false),
		udpTrials("in", "out", "i1", false), udpTrials("from another network", "a1", "i1", false))
	for id, c := range closed {
		l.send(c.from, c.frame(id))
	}
	for id, c := range slices.Concat(udpTrials("fence", "i1", "i2", true), udpTrials("fence", "a1", "out", true), udpTrials("fence", "out", "b1", true)) {
		id += len(closed)
		l.send(c.from, c.frame(id))
		if l.arrives(id, c.to) == nil {
			t.Errorf("%s: %s to %s: lost", c.name, c.from, c.to)
		}
	}
	for id, c := range closed {
		if l.sinks[c.to].frame(id) != nil {
			t.Errorf("%s: %s reached %s", c.name, c.from, c.to)
		}
	}
}

// datagrams counts what arrived before a datagram of the host's own.
func datagrams(t *testing.T, service net.PacketConn, host *namespace) (n int) {
	t.Helper()
	host.do(func() error {
		c, err := net.Dial("udp", "127.0.0.1:9999")
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("fence"))
		return err
	})
	_ = service.SetReadDeadline(time.Now().Add(enough)) // a UDP socket takes any
	b := make([]byte, 100)
	for {
		size, _, err := service.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(b[:size]) == "fence" {
			return n
		}
		n++
	}
}

// TestTraffic counts what goes through published ports of every form.
func TestTraffic(t *testing.T) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			rows := append(bothPorts(), direct("10.1.0.11", 5000, 5000)) // not a published port
			s := newStage(t, bridgeNetfilter, rows...)
			ask := func(from *namespace, addresses ...string) {
				for _, a := range addresses {
					if from.ask(a, enough) == "" {
						t.Fatalf("%s: no answer", a)
					}
				}
			}
			ask(s.out, "192.0.2.1:8080", "192.0.2.1:8080", "[2001:db8::1]:8080", "192.0.2.1:8083", "192.0.2.1:80", "192.0.2.1:9005")
			ask(s.host, "127.0.0.1:8080", "127.0.0.1:8082")
			ask(s.web, "192.0.2.1:8080")
			got, err := s.backend.Traffic(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]uint64{
				"0.0.0.0:8080": 4, "[::]:8080": 1, "127.0.0.1:8082": 1, "192.0.2.1:8083": 1, "[2001:db8::1]:8083": 0,
				"0.0.0.0:78": 1, "[::]:78": 0, "192.0.2.1:9000": 1,
			}
			if len(got) != len(want) {
				t.Errorf("%d ports, want %d: %+v", len(got), len(want), got)
			}
			for _, p := range got {
				checkTraffic(t, p, want[netip.AddrPortFrom(p.Host, p.First).String()])
			}
		})
	}
}

// checkTraffic knows that each connection takes 3 packets to open, 4 to close and
// at least one in between, some of which may share a packet.
func checkTraffic(t *testing.T, p facts.PortTraffic, connections uint64) {
	t.Helper()
	if p.Connections != connections || p.Packets < 6*connections || p.Packets > 16*connections || p.Bytes < 40*p.Packets {
		t.Errorf("%+v, want %d connections", p, connections)
	}
}

// TestTrafficStartsAnew: a port that is published again counts from zero, others
// go on.
func TestTrafficStartsAnew(t *testing.T) {
	rows := bothPorts()
	s := newStage(t, false, rows...)
	s.out.ask("192.0.2.1:8080", enough)
	s.out.ask("192.0.2.1:8083", enough)
	apply(t, s.backend, added(rows[0])[0].Invert())
	apply(t, s.backend, added(rows[0])...)
	got, err := s.backend.Traffic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := func(host string, port uint16) uint64 {
		i := slices.IndexFunc(got, func(p facts.PortTraffic) bool { return p.Host.String() == host && p.First == port })
		return got[i].Connections
	}
	if a, b := count("0.0.0.0", 8080), count("192.0.2.1", 8083); a != 0 || b != 1 {
		t.Errorf("%d connections on the new port, %d on the old: want 0 and 1", a, b)
	}
}

// TestPortsDrift: what somebody removes is noticed, named and put back.
func TestPortsDrift(t *testing.T) {
	s := newStage(t, false, bothPorts()...)
	want := append(stageRows(), bothPorts()...)
	s.host.nft("delete element inet linkspan ports4_any { tcp . 8080 }; delete element inet linkspan open_any_ranges { ipv4 . tcp . 78-82 }")
	r, err := s.backend.Check(t.Context(), want)
	if err != nil || len(r.Drift) != 2 || !strings.Contains(strings.Join(r.Drift, "\n"), "tcp . 8080 : 10.1.0.11 . 80: missing") {
		t.Errorf("check: %q, %v", r.Drift, err)
	}
	if r := resync(t, s.backend, want...); r.Writes != 2 {
		t.Errorf("repair: %+v", r)
	}
	if r := resync(t, s.backend, want...); r.Writes != 0 {
		t.Errorf("second repair: %+v", r)
	}
	if s.out.ask("192.0.2.1:8080", enough) == "" || s.out.ask("192.0.2.1:80", enough) == "" {
		t.Error("no answer after the repair")
	}
}
