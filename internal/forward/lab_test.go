package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/forward/bindguard"
	"github.com/linkspan/linkspan/internal/model"
)

// insideVar tells the process of the tests that it has its own network namespace.
const insideVar = "FORWARD_TEST_INSIDE"

// cgroupVar tells it which cgroup is its own; empty without cgroup v2.
const cgroupVar = "FORWARD_TEST_CGROUP"

// TestMain runs the tests as a process in a network namespace of its own: all
// threads of a Server have to be in one. It also has a cgroup of its own, so that no
// other process of the machine is subject to what the tests guard.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("most tests are skipped: they need root")
		os.Exit(m.Run())
	}
	if os.Getenv(insideVar) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Println("loopback:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(inside())
}

// inside runs the tests in there and returns the exit status.
func inside() int {
	c := exec.Command(os.Args[0], os.Args[1:]...)
	c.Env = append(os.Environ(), insideVar+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if top, err := bindguard.Root(); err == nil {
		dir := filepath.Join(top, fmt.Sprintf("linkspan-forward-test-%d", os.Getpid()))
		f, err := ownCgroup(dir)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.Remove(dir)
		defer f.Close()
		c.Env = append(c.Env, cgroupVar+"="+dir)
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(f.Fd())
	}
	if err := c.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func ownCgroup(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	return os.Open(dir)
}

// loopbackUp brings lo up, which gives it 127.0.0.1 and ::1.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// start returns a Server that ends with the test.
func start(t testing.TB) *Server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := New(Options{Logger: slog.New(slog.DiscardHandler), Cgroup: os.Getenv(cgroupVar)})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func reserve(protocol model.Protocol, addr string, ports ...uint16) desired.Reserve {
	return desired.Reserve{Protocol: protocol, Addr: netip.MustParseAddr(addr), First: ports[0], Last: ports[len(ports)-1]}
}

// to makes a row from a host's address and ports to one of a container.
func to(protocol model.Protocol, host string, first, last uint16, target string) desired.Forward {
	at := netip.MustParseAddrPort(target)
	return desired.Forward{Protocol: protocol, Host: netip.MustParseAddr(host), First: first, Last: last, To: at.Addr(), ToFirst: at.Port()}
}

func wanted(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, row := range rows {
		out = append(out, desired.Delta{Owner: "test", New: row})
	}
	return out
}

func unwanted(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, d := range wanted(rows...) {
		out = append(out, d.Invert())
	}
	return out
}

func stateOf(t testing.TB, rows ...desired.Row) desired.State {
	t.Helper()
	state, err := desired.State{}.Replace("test", rows)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func claim(t testing.TB, s *Server, rows ...desired.Reserve) {
	t.Helper()
	if err := s.Claim(t.Context(), rows); err != nil {
		t.Fatalf("Claim: %v", err)
	}
}

func apply(t testing.TB, s *Server, deltas []desired.Delta) {
	t.Helper()
	if err := s.Apply(t.Context(), deltas); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// tryBind opens a socket as another process would, and returns what came of it.
func tryBind(network, address string) error {
	var c io.Closer
	var err error
	if strings.HasPrefix(network, "tcp") {
		c, err = net.Listen(network, address)
	} else {
		c, err = net.ListenPacket(network, address)
	}
	if err != nil {
		return err
	}
	return c.Close()
}

// eventually polls until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) { // poll
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// listen accepts connections and hands each to serve, until the test ends.
func listen(t testing.TB, address string, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
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
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

// echo sends everything back, and then that this was all.
func echo(c *net.TCPConn) { io.Copy(c, c) }

// afterwards answers only when the client has said everything: without half-close
// it never gets to that.
func afterwards(c *net.TCPConn) {
	all, err := io.ReadAll(c)
	if err == nil {
		fmt.Fprintf(c, "got %d", len(all))
	}
}

// mirror answers datagrams with their sender's port and what they say.
func mirror(t testing.TB, address string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(fmt.Appendf(nil, "%d %s", from.(*net.UDPAddr).Port, b[:n]), from)
		}
	}()
	return c.LocalAddr().String()
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// talk says something on a connection and returns as much of the answer.
func talk(t testing.TB, c net.Conn, say string) string {
	t.Helper()
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(say))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

// ask sends a datagram, again and again, until there is an answer.
func ask(t testing.TB, c net.Conn, say string) string {
	t.Helper()
	b := make([]byte, 65536)
	var answer string
	eventually(t, "an answer over UDP", func() bool {
		if _, err := io.WriteString(c, say); err != nil {
			return false
		}
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.Read(b)
		answer = string(b[:n])
		return err == nil
	})
	return answer
}

// refusal is how a connection fails: when it is made or when it is read.
func refusal(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 1))
	return err
}

// silent tells whether a connection attempt gets no answer at all.
func silent(t testing.TB, address string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
		return false
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
