package nft

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

const resolverAddr = "127.0.0.11"

// echo serves UDP and TCP in a namespace: it answers with its own name in front
// of what it was sent.
type echo struct {
	udp net.PacketConn
	tcp net.Listener
}

func newEcho(t testing.TB, n *namespaces.Namespace, name, address string) echo {
	t.Helper()
	var e echo
	n.Do(func() (err error) {
		if e.udp, err = net.ListenPacket("udp4", address); err != nil {
			return err
		}
		e.tcp, err = net.Listen("tcp4", address)
		return err
	})
	t.Cleanup(func() { e.udp.Close(); e.tcp.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			size, from, err := e.udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = e.udp.WriteTo(append([]byte(name), b[:size]...), from)
		}
	}()
	go func() {
		for {
			c, err := e.tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.WriteString(c, name)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return e
}

func (e echo) ports() (udp, tcp uint16) {
	return uint16(e.udp.LocalAddr().(*net.UDPAddr).Port), uint16(e.tcp.Addr().(*net.TCPAddr).Port)
}

// dialIn connects from inside the namespace; control may set socket options.
func dialIn(t testing.TB, n *namespaces.Namespace, network, address string, control func(fd int) error) net.Conn {
	t.Helper()
	var c net.Conn
	n.Do(func() (err error) {
		d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, raw syscall.RawConn) (err error) {
			if control != nil {
				_ = raw.Control(func(fd uintptr) { err = control(int(fd)) })
			}
			return err
		}}
		c, err = d.DialContext(context.Background(), network, address)
		return err
	})
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func ask(t testing.TB, c net.Conn, question string) string {
	t.Helper()
	if _, err := io.WriteString(c, question); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	size, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:size])
}

func TestRedirectDNS(t *testing.T) {
	for _, c := range []struct{ name, ruleset string }{
		{"plain", ""},
		{"conntrack in the container", "add table ip own; " +
			"add chain ip own out { type filter hook output priority 0; }; add rule ip own out ct state invalid drop; " +
			"add chain ip own in { type filter hook input priority 0; }; add rule ip own in ct state invalid drop; " +
			"add chain ip own nat { type nat hook postrouting priority 100; }; add rule ip own nat oifname eth0 masquerade"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := namespaces.New(t)
			if c.ruleset != "" {
				n.NFT(c.ruleset)
			}
			newEcho(t, n, "own:", "0.0.0.0:53") // a container's own server
			first, second := newEcho(t, n, "first:", resolverAddr+":0"), newEcho(t, n, "second:", resolverAddr+":0")
			udp, tcp := first.ports()
			redirect(t, n, udp, tcp)
			checkResolver(t, n, "first:")

			udp, tcp = second.ports()
			redirect(t, n, udp, tcp)
			redirect(t, n, udp, tcp)
			checkResolver(t, n, "second:")
			if got := ask(t, dialIn(t, n, "udp4", "127.0.0.1:53", nil), "x"); got != "own:x" {
				t.Errorf("the container's own server answers %q", got)
			}
			if got := n.NFT("list", "table", "ip", dnsTableName); strings.Count(got, "our resolver") != 6 {
				t.Errorf("table:\n%s", got)
			}
		})
	}
}

func redirect(t *testing.T, n *namespaces.Namespace, udp, tcp uint16) {
	t.Helper()
	if err := RedirectDNS(n.FD(), udp, tcp); err != nil {
		t.Fatal(err)
	}
}

func checkResolver(t *testing.T, n *namespaces.Namespace, name string) {
	t.Helper()
	const server = resolverAddr + ":53"
	if got := ask(t, dialIn(t, n, "udp4", server, nil), "connected"); got != name+"connected" {
		t.Errorf("connected UDP: %q", got)
	}
	checkUnconnected(t, n, name)
	noChecksum := func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }
	if got := ask(t, dialIn(t, n, "udp4", server, noChecksum), "unchecked"); got != name+"unchecked" {
		t.Errorf("UDP without checksum: %q", got)
	}
	checkComputedChecksum(t, n, name)
	checkTCP(t, n, name)
}

// checkUnconnected looks at the address that the answer comes from: resolvers
// ignore answers from elsewhere than they asked.
func checkUnconnected(t *testing.T, n *namespaces.Namespace, name string) {
	t.Helper()
	var c net.PacketConn
	n.Do(func() (err error) {
		c, err = net.ListenPacket("udp4", "0.0.0.0:0")
		return err
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	server := &net.UDPAddr{IP: net.ParseIP(resolverAddr), Port: 53}
	if _, err := c.WriteTo([]byte("loose"), server); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 512)
	size, from, err := c.ReadFrom(b)
	if err != nil || string(b[:size]) != name+"loose" || from.String() != server.String() {
		t.Errorf("unconnected UDP: %q from %v, %v", b[:size], from, err)
	}
}

// checkComputedChecksum sends a datagram in two parts, for which the kernel
// computes the checksum at once rather than leaving it to the device: so it
// must be corrected, and the receiver verifies it.
func checkComputedChecksum(t *testing.T, n *namespaces.Namespace, name string) {
	t.Helper()
	c := dialIn(t, n, "udp4", resolverAddr+":53", nil)
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), []byte("two "), unix.MSG_MORE, nil) })
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, "parts"); got != name+"two parts" {
		t.Errorf("UDP with a computed checksum: %q", got)
	}
}

func checkTCP(t *testing.T, n *namespaces.Namespace, name string) {
	t.Helper()
	c := dialIn(t, n, "tcp4", resolverAddr+":53", nil)
	if got := c.RemoteAddr().String(); got != resolverAddr+":53" {
		t.Errorf("TCP peer %s", got)
	}
	long := bytes.Repeat([]byte("0123456789abcdef"), 1<<14) // many segments
	go func() {
		_, _ = c.Write(long)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != name+string(long) {
		t.Errorf("TCP: %d bytes, %v", len(got), err)
	}
}

// BenchmarkRedirectDNS measures a first call, the one that is on the path of a
// container's start.
func BenchmarkRedirectDNS(b *testing.B) {
	n := namespaces.New(b)
	for b.Loop() {
		if err := RedirectDNS(n.FD(), 10053, 10053); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c, err := dial(n.FD())
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(c.commitAll([]wire.Message{dnsTable().delTable()}), c.Close()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestRedirectIsLookedAt(t *testing.T) {
	n := namespaces.New(t)
	holds := func(udp, tcp uint16) bool {
		t.Helper()
		var ok bool
		n.Do(func() (err error) {
			ok, err = DNSRedirected(context.Background(), 0, udp, tcp)
			return err
		})
		return ok
	}
	if holds(1001, 1002) {
		t.Error("a namespace without a redirect has one")
	}
	for _, c := range []struct{ what, command string }{
		{"untouched", ""},
		{"flushed", "flush ruleset"},
		{"table deleted", "delete table ip " + dnsTableName},
		{"chain emptied", "flush chain ip " + dnsTableName + " output"},
		{"a rule before", "insert rule ip " + dnsTableName + " output accept"},
	} {
		n.Do(func() error { return RedirectDNS(0, 1001, 1002) })
		if !holds(1001, 1002) || holds(1002, 1001) {
			t.Errorf("%s: the redirect is not known again", c.what)
		}
		if c.command != "" {
			n.NFT(c.command)
		}
		if got, want := holds(1001, 1002), c.command == ""; got != want {
			t.Errorf("%s: holds %t, want %t", c.what, got, want)
		}
	}
}
