package userproxy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket"
)

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// TestProxyerOutlastsALackOfFiles: who comes while there are no descriptors is turned
// away at once, connections under way go on, and who comes afterwards is served. It is
// told once.
func TestProxyerOutlastsALackOfFiles(t *testing.T) {
	var said lines
	s := startWith(slog.New(slog.NewTextHandler(&said, nil)), "")
	t.Cleanup(func() { s.Close() })
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))))
	before := dial(t, "[::1]:7000")
	talk := func(say string) {
		t.Helper()
		if _, err := before.Write([]byte(say)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(say))
		if _, err := io.ReadFull(before, got); err != nil || string(got) != say {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	talk("before")
	var late []int
	for range 20 {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		late = append(late, fd)
	}
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	none := had
	none.Cur = 3 // fewer than there are: nothing can be opened
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	one := netip.IPv6Loopback().As16()
	for _, fd := range late {
		if err := unix.Connect(fd, &unix.SockaddrInet6{Port: 7000, Addr: one}); err != nil && !errors.Is(err, unix.ECONNRESET) {
			t.Error(err)
		}
	}
	eventually(t, "the lack is noticed", s.outage.Lasts)
	talk("meanwhile")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	eventually(t, "others are served again", func() bool {
		c, err := net.Dial("tcp", "[::1]:7000")
		if err != nil {
			return false
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		_, err = fmt.Fprint(c, "x")
		got := make([]byte, 1)
		_, failed := io.ReadFull(c, got)
		return err == nil && failed == nil && string(got) == "x"
	})
	talk("afterwards")
	if n := said.count("has to wait"); n != 1 {
		t.Errorf("the lack was told %d times", n)
	}
}

// TestBrokenListenerMendsItself: a socket that somebody shuts from outside shows in
// Check, and another is opened without being asked for, for all that used it.
func TestBrokenListenerMendsItself(t *testing.T) {
	s := start(t)
	hold(t, s, reserve(model.TCP, "::", 7000))
	row := to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))
	apply(t, s, wanted(row))
	s.table.Lock()
	var sock *portsocket.Socket
	for one := range s.table.All() {
		sock = one
	}
	// While we have the lock, the repair has to wait.
	if err := sock.Control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the fault is noticed", sock.Broken.Load)
	s.table.Unlock()
	r, err := s.Check(t.Context(), stateOf(t, row))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Drift) == 1 && r.Drift[0] != "listener is broken: tcp [::]:7000" || len(r.Drift) > 1 {
		t.Errorf("check: %q", r.Drift)
	}
	eventually(t, "it is mended", func() bool {
		r, err := s.Check(t.Context(), stateOf(t, row))
		return err == nil && len(r.Drift) == 0
	})
	if got := talk(t, dial(t, "[::1]:7000"), "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	if err := tryBind("tcp6", "[::]:7000"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the reservation: %v", err)
	}
}

// TestResyncMendsSilentFaults: a reservation that nobody reads from is whole again
// after a resync.
func TestResyncMendsSilentFaults(t *testing.T) {
	s := start(t)
	held := reserve(model.TCP, "::", 7000)
	hold(t, s, held)
	s.table.Lock()
	for sock := range s.table.All() {
		if err := sock.Control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) }); err != nil {
			t.Fatal(err)
		}
	}
	s.table.Unlock()
	if got := resync(t, s, stateOf(t, held)); len(got) != 1 || got[0] != "listener is broken: tcp [::]:7000" {
		t.Errorf("resync: %q", got)
	}
	if got := resync(t, s, stateOf(t, held)); len(got) != 0 {
		t.Errorf("again: %q", got)
	}
	if err := tryBind("tcp6", "[::]:7000"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the reservation: %v", err)
	}
}

// TestOneClientDoesNotShutOthersOut: a client that fills four ports leaves room for
// others, at those and at a fifth.
func TestOneClientDoesNotShutOthersOut(t *testing.T) {
	s := start(t)
	s.conns.Max, s.conns.Least = 200, 4
	target := listen(t, "127.0.0.1:0", echo)
	for port := uint16(7000); port < 7005; port++ {
		hold(t, s, reserve(model.TCP, "0.0.0.0", port))
		apply(t, s, wanted(to(model.TCP, "0.0.0.0", port, port, target)))
	}
	answers := func(from string, port int) bool {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
		c, err := d.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			return false
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			return false
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	taken := 0
	for port := 7000; port < 7004; port++ {
		for answers("127.0.0.66", port) {
			if taken++; taken > 200 {
				t.Fatal("there is no bound")
			}
		}
	}
	if taken < 60 {
		t.Errorf("one client gets %d of 200 places", taken)
	}
	for port := 7000; port < 7005; port++ {
		for n := range 3 {
			if !answers("127.0.0.7", port) {
				t.Errorf("port %d: another client gets %d places beside one with %d", port, n, taken)
				break
			}
		}
	}
	if !answers("127.0.0.66", 7004) {
		t.Error("the fifth port has no room for the client that filled the others")
	}
}

// TestOneClientDoesNotPushOthersOut: the same for UDP, where the newest comes in.
func TestOneClientDoesNotPushOthersOut(t *testing.T) {
	s := start(t)
	row := to(model.UDP, "127.0.0.1", 7000, 7000, mirror(t, "127.0.0.1:0"))
	apply(t, s, wanted(row))
	s.table.Lock()
	table := &s.proxies[row.Key()].flows
	s.table.Unlock()
	table.mu.Lock()
	table.share.Max = 8
	table.mu.Unlock()
	from := func(address string) net.Conn {
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7000})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	honest := from("127.0.0.7")
	was := ask(t, honest, "x")
	for range 20 {
		ask(t, from("127.0.0.66"), "x")
	}
	if got := ask(t, honest, "x"); got != was {
		t.Errorf("it is %q now, was %q: it has lost its place", got, was)
	}
	if n := len(table.all()); n != 8 {
		t.Errorf("%d clients, want 8", n)
	}
}

// TestDataPassesWithoutPipes: what cannot be spliced for want of pipes is copied, and
// pipes that nobody uses are not kept.
func TestDataPassesWithoutPipes(t *testing.T) {
	s := start(t)
	apply(t, s, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))))
	for _, made := range []int64{maxPipes, 0} {
		s.pipes.made.Store(made)
		c := dial(t, "[::1]:7000")
		data := strings.Repeat("0123456789abcdef", 1<<16)
		go func() {
			io.WriteString(c, data)
			c.CloseWrite()
		}()
		if got, err := io.ReadAll(c); string(got) != data || err != nil {
			t.Errorf("with %d pipes: %d bytes of %d, %v", made, len(got), len(data), err)
		}
		c.Close()
		eventually(t, "it has ended", func() bool { return s.conns.Inside() == 0 })
	}
	if n := s.pipes.made.Load(); n < 1 || n > 2 || int(n) != len(s.pipes.free) {
		t.Errorf("%d pipes, %d of them free", n, len(s.pipes.free))
	}
	s.Close()
	if n := s.pipes.made.Load(); n != 0 {
		t.Errorf("%d pipes are left", n)
	}
}

// TestAllTogetherLeavesFiles: what clients may take is less than half of the
// descriptors, so that the rest is for what must not wait.
func TestAllTogetherLeavesFiles(t *testing.T) {
	for _, files := range []int64{512, 1024, 20_000, 1 << 20} {
		conns, flows, made := min(maxConnsTotal, files/filesOfConns), min(maxFlowsTotal, files/filesOfFlows), min(maxPipes, files/filesOfPipes)
		if taken := 2*conns + 2*flows + 2*made; taken >= files/2 {
			t.Errorf("of %d descriptors clients may take %d", files, taken)
		}
	}
}
