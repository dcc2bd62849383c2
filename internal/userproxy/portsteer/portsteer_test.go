package portsteer

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket/porttest"
)

func TestMain(m *testing.M) { porttest.Main(m) }

func start(t *testing.T) *Steer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := new(Steer)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func set(t *testing.T, s *Steer, targets ...Target) {
	t.Helper()
	if err := s.Set(targets); err != nil {
		t.Fatalf("Set: %v", err)
	}
}

// server greets every connection with its name and the port that was used.
func server(t *testing.T, name, at string) (*net.TCPListener, int) {
	t.Helper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // the kernel's map takes none of those
	l, err := plain.Listen(t.Context(), "tcp6", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %d", name, c.LocalAddr().(*net.TCPAddr).Port)
			c.Close()
		}
	}()
	return l.(*net.TCPListener), descriptor(t, l.(syscall.Conn))
}

func descriptor(t *testing.T, c syscall.Conn) (fd int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(of uintptr) { fd = int(of) }); err != nil {
		t.Fatal(err)
	}
	return fd
}

// greeting is what a server says; empty if nobody takes the connection.
func greeting(t *testing.T, at string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp6", at, 5*time.Second)
	if errors.Is(err, unix.ECONNREFUSED) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func target(protocol model.Protocol, host string, first, last uint16, socket int) Target {
	return Target{Protocol: protocol, Host: netip.MustParseAddr(host), First: first, Last: last, Socket: socket}
}

func TestTCP(t *testing.T) {
	s := start(t)
	_, one := server(t, "one", "[::1]:5000")
	l, all := server(t, "all", "[::]:5001")
	set(t, s, target(model.TCP, "::", 10000, 19999, all), target(model.TCP, "::1", 15000, 15999, one))
	for at, want := range map[string]string{
		"[::1]:9999": "", "[::1]:10000": "all 10000", "[::1]:14999": "all 14999", "[::1]:15000": "one 15000",
		"[::1]:15999": "one 15999", "[::1]:16000": "all 16000", "[::1]:19999": "all 19999", "[::1]:20000": "",
		"[::1]:5000": "one 5000",
	} {
		if got := greeting(t, at); got != want {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
	}
	set(t, s, target(model.TCP, "2001:db8::1", 15000, 15999, one), target(model.TCP, "::", 18000, 18999, all))
	for at, want := range map[string]string{"[::1]:15500": "", "[::1]:18500": "all 18500"} {
		if got := greeting(t, at); got != want {
			t.Errorf("after the change, %s: %q, want %q", at, got, want)
		}
	}
	l.Close()
	if got := greeting(t, "[::1]:18500"); got != "" {
		t.Errorf("without the socket: %q", got)
	}
	set(t, s)
	if c, err := net.Dial("tcp4", "127.0.0.1:18500"); err == nil {
		c.Close()
		t.Error("IPv4 is led somewhere")
	}
}

func TestUDP(t *testing.T) {
	s := start(t)
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	set(t, s, target(model.UDP, "::1", 10000, 19999, descriptor(t, c)))
	client, err := net.Dial("udp6", "[::1]:12345")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != "hello" {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

func TestFailureChangesNothing(t *testing.T) {
	s := start(t)
	_, fd := server(t, "one", "[::1]:5000")
	set(t, s, target(model.TCP, "::1", 10000, 19999, fd))
	if err := s.Set([]Target{target(model.TCP, "::1", 1, 2, -1)}); err == nil {
		t.Error("a target without a socket is taken")
	}
	if err := s.Set(make([]Target, maxTargets+1)); err == nil {
		t.Error("too many targets are taken")
	}
	if got := greeting(t, "[::1]:10001"); got != "one 10001" {
		t.Errorf("got %q", got)
	}
	var many []Target
	for i := range maxTargets {
		many = append(many, target(model.TCP, fmt.Sprintf("2001:db8::%x", i), 1, 2, fd))
	}
	many[maxTargets-1].Host = netip.IPv6Loopback()
	set(t, s, many...)
	if got := greeting(t, "[::1]:2"); got != "one 2" {
		t.Errorf("got %q from the last of many", got)
	}
}
