package userproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/portsocket"
)

// handOver moves everything from one server to another.
func handOver(t testing.TB, from, to *serverWithPorts) {
	t.Helper()
	rows := from.Rows()
	if err := to.Adopt(t.Context(), sent(t, from.HandOver()), rows); err != nil {
		t.Fatalf("Adopt: %v", err)
	}
}

// sent returns sockets as another process would receive them (unix(7), SCM_RIGHTS).
func sent(t testing.TB, handed []portsocket.Handed) []portsocket.Handed {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	var out []portsocket.Handed
	for _, h := range handed {
		if err := unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(h.File.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
		h.File.Close()
		b, control := make([]byte, 1), make([]byte, 64)
		_, n, _, _, err := unix.Recvmsg(pair[1], b, control, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			t.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, portsocket.Handed{Name: h.Name, File: os.NewFile(uintptr(fds[0]), h.Name)})
	}
	return out
}

// TestHandOver: while 500 clients come and go, the sockets change hands several
// times, also back to the one that released them; nobody is refused.
func TestHandOver(t *testing.T) {
	one, two := start(t), start(t)
	hold(t, one, reserve(model.TCP, "::", 7000), reserve(model.TCP, "0.0.0.0", 7000), reserve(model.UDP, "::", 20000, 30000))
	apply(t, one, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))))
	want := fmt.Sprint(one.Rows())

	var clients sync.WaitGroup
	var served atomic.Int64
	tickets := make(chan int)
	for range 20 {
		clients.Go(func() {
			for i := range tickets {
				if err := oneClient("[::1]:7000", fmt.Sprintf("client %d", i)); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				served.Add(1)
			}
		})
	}
	now, next := one, two
	for i := range 500 {
		if i%100 == 50 {
			handOver(t, now, next)
			now, next = next, now
		}
		if i == 275 {
			handOver(t, now, now)
		}
		tickets <- i
	}
	close(tickets)
	clients.Wait()
	if served.Load() != 500 {
		t.Errorf("%d of 500 served", served.Load())
	}
	if got := fmt.Sprint(now.Rows()); got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
	if err := tryBind("tcp6", "[::]:7000"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("bind: %v", err)
	}
	if !silent(t, "127.0.0.1:7000") {
		t.Error("a port that is only reserved answers")
	}
	apply(t, now, unwanted(now.proxiesOf()...))
	if err := now.ports.Release(t.Context(), now.ports.Reserved()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(tryBind("tcp6", "[::]:7000"), tryBind("tcp4", "0.0.0.0:7000")); err != nil {
		t.Errorf("bind when nobody has the port: %v", err)
	}
}

func (b *serverWithPorts) proxiesOf() []desired.Row {
	var out []desired.Row
	for _, row := range b.Rows() {
		if row.Key().Kind == desired.KindForward {
			out = append(out, row)
		}
	}
	return out
}

func oneClient(address, say string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, say); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != say {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

// TestWhatArrivesMeanwhileWaits: nobody reads between Release and Adopt, and
// nothing is lost by that.
func TestWhatArrivesMeanwhileWaits(t *testing.T) {
	one, two := start(t), start(t)
	hold(t, one, reserve(model.TCP, "::", 7000), reserve(model.UDP, "::", 7000))
	apply(t, one, wanted(
		to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo)),
		to(model.UDP, "::1", 7000, 7000, mirror(t, "127.0.0.1:0")),
	))
	old, known := dial(t, "[::1]:7000"), dialUDP(t, "[::1]:7000")
	talk(t, old, "before")
	before := ask(t, known, "before")

	rows, handed := one.Rows(), one.HandOver()
	if err := one.Apply(t.Context(), nil); model.KindOf(err) != model.Unavailable {
		t.Errorf("Apply while away: %v", err)
	}
	if got := one.Rows(); fmt.Sprint(got) != fmt.Sprint(rows) || len(one.ports.Reserved()) != 2 {
		t.Errorf("rows while away: %v", got)
	}
	late, fresh := dial(t, "[::1]:7000"), dialUDP(t, "[::1]:7000")
	for _, c := range []net.Conn{late, fresh, known} {
		if _, err := io.WriteString(c, "during"); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Adopt(t.Context(), sent(t, handed), rows); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for _, c := range []net.Conn{late, fresh, known} {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := c.Read(b)
		if err != nil || !strings.HasSuffix(string(b[:n]), "during") {
			t.Errorf("got %q, %v", b[:n], err)
		}
		if c == known && strings.Fields(string(b[:n]))[0] != strings.Fields(before)[0] {
			t.Errorf("the client was %q to the container and is %q", before, b[:n])
		}
	}
	// The old one finishes what it has, and then all is over.
	talk(t, old, "after")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := one.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain with a connection under way: %v", err)
	}
	old.Close()
	if err := one.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	talk(t, late, "and on")
}

// TestPortThatIsNoLongerProxied: what the predecessor let in, the successor does
// not, unless a row says so.
func TestPortThatIsNoLongerProxied(t *testing.T) {
	one, two := start(t), start(t)
	row := reserve(model.TCP, "::", 7000)
	hold(t, one, row)
	apply(t, one, wanted(to(model.TCP, "::1", 7000, 7000, listen(t, "127.0.0.1:0", echo))))
	if err := two.Adopt(t.Context(), one.HandOver(), []desired.Row{row}); err != nil {
		t.Fatal(err)
	}
	if !silent(t, "[::1]:7000") {
		t.Error("the port answers")
	}
}

// TestNothingStaysOpen: neither with the one that released nor with the one that
// got more than it wanted.
func TestNothingStaysOpen(t *testing.T) {
	one, two := start(t), start(t)
	before := openFiles(t)
	hold(t, one, reserve(model.TCP, "::", 7000, 7009), reserve(model.UDP, "0.0.0.0", 7000))
	row := to(model.UDP, "::1", 8000, 8000, mirror(t, "127.0.0.1:7100"))
	apply(t, one, wanted(row))
	ask(t, dialUDP(t, "[::1]:8000"), "x")
	handed := one.HandOver()
	if len(handed) != 13 {
		t.Errorf("%d handed over, want 11 reserved, one proxy and its client", len(handed))
	}
	if err := two.Adopt(t.Context(), append(handed, portsocket.Handed{Name: "nonsense", File: os.NewFile(uintptr(dupOf(t, handed[0].File)), "x")}), nil); err == nil {
		t.Error("nonsense was adopted")
	}
	// Nobody asked for any: they stay until a resync says that nobody will.
	if err := tryBind("tcp6", "[::1]:7005"); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("bind before the resync: %v", err)
	}
	report, err := two.Resync(t.Context(), stateOf(t, row))
	if err != nil || len(report.Drift) != 1 {
		t.Errorf("Resync: %v, %v", report, err)
	}
	if err := tryBind("tcp6", "[::1]:7005"); err != nil {
		t.Errorf("bind after the resync: %v", err)
	}
	if err := errors.Join(one.Close(), two.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	if err := two.Adopt(t.Context(), nil, nil); model.KindOf(err) != model.Unavailable {
		t.Errorf("Adopt of a closed server: %v", err)
	}
	// The test's own: mirror and a client.
	eventually(t, "all sockets are closed", func() bool { return openFiles(t) <= before+2 })
}

func dupOf(t testing.TB, f *os.File) int {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if closed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); closed != nil || err != nil {
		t.Fatal(closed, err)
	}
	return fd
}

func FuzzParseHanded(f *testing.F) {
	for _, text := range []string{"tcp [::]:80", "udp 0.0.0.0:53 127.0.0.1:4000 127.0.0.1", "udp [::]:53 [fe80::1%2]:4000 fe80::2%2", "tcp", "x [::]:1", "udp [::]:1 a b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHanded(text)
		if err != nil {
			return
		}
		again := h.String()
		if back, err := parseHanded(again); err != nil || back != h {
			t.Errorf("%q is %+v, printed %q, which is %+v, %v", text, h, again, back, err)
		}
	})
}
