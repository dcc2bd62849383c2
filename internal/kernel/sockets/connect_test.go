package sockets_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/sockets"
)

// space returns an Opener with one namespace, "box", whose loopback interface is up.
func space(t *testing.T) sockets.Opener {
	t.Helper()
	d := kerneltest.New(t).Namespaces(t)
	err := d.Create(t.Context(), "box", func(f *os.File) error { return f.Close() })
	if err == nil {
		err = d.Do(t.Context(), "box", func() error { return exec.Command("ip", "link", "set", "lo", "up").Run() })
	}
	if err != nil {
		t.Fatal(err)
	}
	return sockets.Opener{Namespaces: d}
}

// open returns one socket of "box".
func open(t *testing.T, o sockets.Opener, network string) *os.File {
	t.Helper()
	all, err := o.Open(t.Context(), "box", network, 1)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d sockets, %v", len(all), err)
	}
	t.Cleanup(func() { all[0].Close() })
	if err := all[0].SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestSocketsReachTheirNamespace(t *testing.T) {
	o := space(t)
	for network, at := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		server, err := o.Namespaces.ListenPacket(t.Context(), "box", network, netip.MustParseAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		s := open(t, o, network)
		if err := o.Connect(t.Context(), s, netip.MustParseAddrPort(server.LocalAddr().String())); err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		buf := make([]byte, 10)
		if _, err := s.Write([]byte("ping")); err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		n, from, err := server.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "ping" {
			t.Fatalf("%s: got %q, %v", network, buf[:n], err)
		}
		if _, err := server.WriteTo([]byte("pong"), from); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(buf); err != nil || string(buf[:n]) != "pong" {
			t.Errorf("%s: got %q, %v", network, buf[:n], err)
		}
	}
	for network, at := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		server, err := o.Namespaces.Listen(t.Context(), "box", network, netip.MustParseAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, o, network)
		if err := o.Connect(t.Context(), s, netip.MustParseAddrPort(server.Addr().String())); err != nil {
			t.Fatalf("%s: %v", network, err)
		}
		conn, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Write([]byte("pong"))
		if err := errors.Join(err, conn.Close(), server.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(s); err != nil || string(got) != "pong" {
			t.Errorf("%s: got %q, %v", network, got, err)
		}
		if err := o.Connect(t.Context(), open(t, o, network), netip.MustParseAddrPort(server.Addr().String())); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: nobody listens: %v", network, err)
		}
	}
}

func TestEveryConnectDrawsAPort(t *testing.T) {
	o := space(t)
	all, err := o.Open(t.Context(), "box", "udp4", 40)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[int]bool{}
	for _, s := range all {
		defer s.Close()
		raw, _ := s.SyscallConn()
		port := func() (n int) {
			raw.Control(func(fd uintptr) {
				if a, err := unix.Getsockname(int(fd)); err == nil {
					n = a.(*unix.SockaddrInet4).Port
				}
			})
			return n
		}
		if n := port(); n != 0 {
			t.Errorf("port %d before there is a peer", n)
		}
		if err := o.Connect(t.Context(), s, netip.MustParseAddrPort("127.0.0.1:53")); err != nil {
			t.Fatal(err)
		}
		ports[port()] = true
	}
	if len(ports) != len(all) || ports[0] {
		t.Errorf("%d ports of %d sockets", len(ports), len(all))
	}
}

// TestSilentPeersHoldNobodyUp: as many wait for a connection as threads may be away, and
// the namespace can still be visited.
func TestSilentPeersHoldNobodyUp(t *testing.T) {
	o := space(t)
	full, err := o.Namespaces.Listen(t.Context(), "box", "tcp4", netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	raw, err := full.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 0) }) // room for one, whom nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddrPort(full.Addr().String())
	if err := o.Connect(t.Context(), open(t, o, "tcp4"), peer); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	const waiting = 20
	results := make(chan error, waiting)
	for range waiting {
		s := open(t, o, "tcp4")
		go func() { results <- o.Connect(ctx, s, peer) }()
	}
	if err := o.Namespaces.Do(ctx, "box", func() error { return nil }); err != nil {
		t.Errorf("a visit beside them: %v", err)
	}
	for range waiting {
		if err := <-results; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the wait ended with: %v", err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	o := space(t)
	if _, err := o.Open(t.Context(), "box", "sctp", 1); err == nil {
		t.Error("a network that there is not")
	}
	if _, err := o.Open(t.Context(), "elsewhere", "udp4", 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a namespace that there is not: %v", err)
	}
	s := open(t, o, "udp6")
	if err := o.Connect(t.Context(), s, netip.MustParseAddrPort("[fe80::1%nowhere]:53")); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that there is not: %v", err)
	}
	if err := o.Connect(t.Context(), s, netip.MustParseAddrPort("[fe80::1%lo]:53")); err != nil && errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface of the namespace: %v", err)
	}
}
