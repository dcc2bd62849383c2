package userproxy

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket"
)

// addresses gives lo more of them, for one test.
func addresses(t *testing.T, all ...string) {
	t.Helper()
	for _, a := range all {
		if out, err := exec.Command("ip", "addr", "add", a, "dev", "lo", "nodad").CombinedOutput(); err != nil {
			t.Skipf("no address %s: %s", a, out)
		}
		t.Cleanup(func() { exec.Command("ip", "addr", "del", a, "dev", "lo").Run() })
	}
	for _, a := range all {
		at, _, _ := strings.Cut(a, "/")
		eventually(t, "a datagram to "+at, func() bool { return reaches(net.JoinHostPort(at+"%lo", "0")) })
	}
}

// reaches tells whether a datagram to an address of lo arrives. The kernel has a new
// address at once, and the local route to it a moment later (addrconf_dad_work); a
// socket that is connected in between never gets an answer.
func reaches(address string) bool {
	at, err := net.ResolveUDPAddr("udp6", address)
	if err != nil {
		return false
	}
	l, err := net.ListenUDP("udp6", at)
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.Dial("udp6", l.LocalAddr().String())
	if err != nil {
		return false
	}
	defer c.Close()
	l.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, err = c.Write([]byte("x"))
	if err == nil {
		_, err = l.Read(make([]byte, 1))
	}
	return err == nil
}

func rest(row desired.Forward) desired.Forward {
	row.Rest = true
	return row
}

// TestRestOfIPv6: beside what the kernel translates, ::1 and link-local addresses are
// served, in both protocols, on the socket of the reservation or steered to one; other
// addresses stay closed, which is what the kernel has rules for.
func TestRestOfIPv6(t *testing.T) {
	addresses(t, "fe80::77/64", "fd00:77::1/128")
	for what, last := range map[string]uint16{"a port": 7000, "a wide range": 7000 + portsocket.MaxRange} {
		t.Run(what, func(t *testing.T) {
			s := start(t)
			hold(t, s, reserve(model.TCP, "::", 7000, last), reserve(model.UDP, "::", 7000, last))
			tcp := rest(to(model.TCP, "::", 7000, last, listen(t, "127.0.0.1:20000", echo)))
			udp := rest(to(model.UDP, "::", 7000, last, mirror(t, "127.0.0.1:20000")))
			apply(t, s, wanted(tcp, udp))
			apply(t, s, wanted(tcp, udp))
			for _, host := range []string{"::1", "fe80::77%lo"} {
				at := net.JoinHostPort(host, "7000")
				if got := talk(t, dial(t, at), "hello"); got != "hello" {
					t.Errorf("%s over TCP: %q", at, got)
				}
				if got := behind(ask(t, dialUDP(t, at), "hello")); got != "hello" {
					t.Errorf("%s over UDP: %q", at, got)
				}
			}
			if what == "a port" && !silent(t, "[fd00:77::1]:7000") {
				t.Error("another address answers over TCP")
			}
			if what == "a wide range" {
				if c, err := net.DialTimeout("tcp", "[fd00:77::1]:7000", time.Second); err == nil {
					c.SetDeadline(time.Now().Add(5 * time.Second))
					fmt.Fprint(c, "x")
					if n, _ := c.Read(make([]byte, 1)); n != 0 {
						t.Error("another address answers over TCP")
					}
					c.Close()
				}
			}
			c := dialUDP(t, "[fd00:77::1]:7000")
			fmt.Fprint(c, "x")
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if n, err := c.Read(make([]byte, 9)); err == nil {
				t.Errorf("another address answers over UDP: %d bytes", n)
			}
			if got := resync(t, s, stateOf(t, tcp, udp)); len(got) != 0 {
				t.Errorf("resync: %q", got)
			}
			// A container that has lost its IPv6 is served at every address.
			whole := tcp
			whole.Rest = false
			apply(t, s, []desired.Delta{{Owner: "test", Old: tcp, New: whole}})
			if got := talk(t, dial(t, "[fd00:77::1]:7000"), "hello"); got != "hello" {
				t.Errorf("without Rest: %q", got)
			}
		})
	}
}

// TestBroadcasts: what is sent to a broadcast address is heard, the answer comes from an
// address of the host, and the conversation goes on there. What is addressed to the host
// by somebody else is not for user space.
func TestBroadcasts(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.UDP, "0.0.0.0", 7000))
	row := rest(to(model.UDP, "0.0.0.0", 7000, 7000, mirror(t, "127.0.0.1:0")))
	row.Bridge = "br-test"
	apply(t, s, wanted(row))
	client := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	exchange := func(c *net.UDPConn, host string) (answer string, from netip.AddrPort) {
		b := make([]byte, 100)
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
			if _, err := c.WriteToUDPAddrPort([]byte("who is there"), netip.AddrPortFrom(netip.MustParseAddr(host), 7000)); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, at, err := c.ReadFromUDPAddrPort(b); err == nil {
				return behind(string(b[:n])), netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
			}
		}
		return "", from
	}
	c := client()
	if got, _ := exchange(c, "127.0.0.1"); got != "" {
		t.Errorf("a datagram to the host itself: %q", got)
	}
	host := netip.MustParseAddrPort("127.0.0.1:7000")
	if got, from := exchange(c, "127.255.255.255"); got != "who is there" || from != host {
		t.Errorf("a broadcast: %q from %s", got, from)
	}
	if got, from := exchange(c, "127.0.0.1"); got != "who is there" || from != host {
		t.Errorf("what follows: %q from %s", got, from)
	}
	if got, _ := exchange(client(), "127.0.0.1"); got != "" {
		t.Errorf("a datagram of somebody else to the host itself: %q", got)
	}
	// The container itself hears what comes by its own bridge.
	own := row
	own.Bridge = "lo"
	apply(t, s, []desired.Delta{{Owner: "test", Old: row, New: own}})
	if got, _ := exchange(client(), "127.255.255.255"); got != "" {
		t.Errorf("a broadcast by the container's own bridge: %q", got)
	}
}

// TestRestIsHandedOver: to the next keeper, with its clients.
func TestRestIsHandedOver(t *testing.T) {
	addresses(t, "fe80::77/64")
	old, next := start(t), start(t)
	hold(t, old, reserve(model.TCP, "::", 7000), reserve(model.UDP, "::", 7000))
	target := mirror(t, "127.0.0.1:0")
	tcp, udp := rest(to(model.TCP, "::", 7000, 7000, listen(t, "127.0.0.1:0", echo))), rest(to(model.UDP, "::", 7000, 7000, target))
	apply(t, old, wanted(tcp, udp))
	c := dialUDP(t, "[fe80::77%lo]:7000")
	was := ask(t, c, "x")
	handOver(t, old, next)
	if got := ask(t, c, "x"); got != was {
		t.Errorf("the client is %q now, was %q", got, was)
	}
	if got := talk(t, dial(t, "[fe80::77%lo]:7000"), "hello"); got != "hello" {
		t.Errorf("over TCP: %q", got)
	}
	if got := resync(t, next, stateOf(t, tcp, udp)); len(got) != 0 {
		t.Errorf("resync: %q", got)
	}
}

// TestRestThatMakesNoSense is refused.
func TestRestThatMakesNoSense(t *testing.T) {
	s := start(t)
	for _, row := range []desired.Forward{
		rest(to(model.TCP, "::1", 7000, 7000, "127.0.0.1:1")),
		rest(to(model.UDP, "127.0.0.1", 7000, 7000, "127.0.0.1:1")),
		rest(to(model.TCP, "0.0.0.0", 7000, 7000, "127.0.0.1:1")),
	} {
		if err := s.Apply(t.Context(), wanted(row)); model.KindOf(err) != model.Invalid && len(desired.Failures(err)) != 1 {
			t.Errorf("%s: %v", row, err)
		}
	}
}
