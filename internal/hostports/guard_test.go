package hostports

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket/porttest"
)

func startGuarded(t testing.TB) *reserverWithProxy {
	t.Helper()
	if os.Getenv(porttest.CgroupVar) == "" {
		t.Skip("needs root and cgroup v2")
	}
	return start(t)
}

// TestWideRangeIsHeld: no descriptor, and nobody else gets a port of it.
func TestWideRangeIsHeld(t *testing.T) {
	s := startGuarded(t)
	rows := []desired.Reserve{
		guarded(model.TCP, "0.0.0.0"), guarded(model.TCP, "::"), guarded(model.UDP, "0.0.0.0"), guarded(model.UDP, "::"),
	}
	before := openFiles(t)
	hold(t, s, rows...)
	if after := openFiles(t); after-before > 8 || s.sockets.Len() != 0 {
		t.Errorf("%d descriptors for four ranges, %d sockets", after-before, s.sockets.Len())
	}
	for _, network := range []string{"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"} {
		expectBind(t, network, ":10000", unix.EADDRINUSE)
		expectBind(t, network, ":19999", unix.EADDRINUSE)
		expectBind(t, network, ":20000", nil)
	}
	if err := s.Release(t.Context(), rows[:2]); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "tcp", ":15000", nil)
	expectBind(t, "udp", ":15000", unix.EADDRINUSE)
	if err := s.Release(t.Context(), rows[2:]); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "udp", ":15000", nil)
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors are left", after-before)
	}
}

// TestRefusedWideRangeIsNotHeld: the reservation that fails leaves nothing.
func TestRefusedWideRangeIsNotHeld(t *testing.T) {
	s := startGuarded(t)
	l, err := net.Listen("tcp4", "127.0.0.1:15000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var held *desired.PortTaken
	if err := s.Reserve(t.Context(), []desired.Reserve{guarded(model.TCP, "::"), guarded(model.TCP, "0.0.0.0")}); !errors.As(err, &held) || held.Port != 15000 {
		t.Fatalf("Reserve: %v", err)
	}
	expectBind(t, "tcp", ":15001", nil)
}

// TestProxyInAGuardedRange: what we bind ourselves is not refused.
func TestProxyInAGuardedRange(t *testing.T) {
	s := startGuarded(t)
	at := listen(t, "127.0.0.1:0", echo)
	hold(t, s, guarded(model.TCP, "::"))
	apply(t, s, wanted(to(model.TCP, "::1", 15000, 15000, at)))
	if got := talk(t, dial(t, "[::1]:15000"), "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	expectBind(t, "tcp6", "[::1]:15001", unix.EADDRINUSE)
}

// TestGuardIsHandedOver: at no moment can anybody bind, and what the successor lets
// go is free.
func TestGuardIsHandedOver(t *testing.T) {
	first, second := startGuarded(t), startGuarded(t)
	row := guarded(model.TCP, "0.0.0.0")
	hold(t, first, row)
	rows := first.Rows()
	handed := first.HandOver()
	expectBind(t, "tcp4", ":15000", unix.EADDRINUSE)
	if err := second.Adopt(t.Context(), handed, rows); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "tcp4", ":15000", unix.EADDRINUSE)
	if err := first.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "tcp4", ":15000", unix.EADDRINUSE)
	if err := second.Release(t.Context(), []desired.Reserve{row}); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "tcp4", ":15000", nil)
}

// TestGuardIsKeptWhenNobodyTakesOver: a successor that never came to be.
func TestGuardIsKeptWhenNobodyTakesOver(t *testing.T) {
	s := startGuarded(t)
	hold(t, s, guarded(model.TCP, "0.0.0.0"))
	rows := s.Rows()
	if err := s.Adopt(t.Context(), s.HandOver(), rows); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "tcp4", ":15000", unix.EADDRINUSE)
	if err := s.Adopt(t.Context(), s.HandOver(), nil); err != nil {
		t.Fatal(err)
	}
	expectBind(t, "tcp4", ":15000", nil)
}

// TestHostWithoutAGuard: ranges are taken nevertheless, are only checked, and that is
// said once.
func TestHostWithoutAGuard(t *testing.T) {
	start(t) // skips without root
	var text bytes.Buffer
	s := startWith(slog.New(slog.NewTextHandler(&text, nil)), filepath.Join(t.TempDir(), "none"))
	defer s.Close()
	hold(t, s, guarded(model.TCP, "0.0.0.0"))
	hold(t, s, guarded(model.TCP, "::"))
	expectBind(t, "tcp4", ":15000", nil)
	if n := strings.Count(text.String(), "not held against other processes"); n != 1 {
		t.Errorf("said %d times: %s", n, &text)
	}
	other, err := net.ListenPacket("udp4", "127.0.0.1:15000")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var held *desired.PortTaken
	if err := s.Reserve(t.Context(), []desired.Reserve{guarded(model.UDP, "0.0.0.0")}); !errors.As(err, &held) {
		t.Errorf("Reserve of a range of which somebody has a port: %v", err)
	}
}

// BenchmarkReserveWide is a reservation of 10 000 ports in both families, and its end.
func BenchmarkReserveWide(b *testing.B) {
	s := startGuarded(b)
	rows := []desired.Reserve{guarded(model.TCP, "0.0.0.0"), guarded(model.TCP, "::")}
	for b.Loop() {
		hold(b, s, rows...)
		if err := s.Release(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReserveSockets is the same for as many ports as have a socket each.
func BenchmarkReserveSockets(b *testing.B) {
	s := start(b)
	rows := []desired.Reserve{reserve(model.TCP, "0.0.0.0", 10000, 11023), reserve(model.TCP, "::", 10000, 11023)}
	for b.Loop() {
		hold(b, s, rows...)
		if err := s.Release(b.Context(), rows); err != nil {
			b.Fatal(err)
		}
	}
}
