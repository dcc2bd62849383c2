// Package porttest is what tests of packages that hold ports of the host share: a
// network namespace and a cgroup of their own, rows, and clients and servers to try
// ports with.
package porttest

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/linkspan/linkspan/internal/hostports/bindguard"
	"github.com/linkspan/linkspan/internal/model"
)

// insideVar tells the process of the tests that it has its own network namespace.
const insideVar = "PORT_TEST_INSIDE"

// CgroupVar tells it which cgroup is its own; empty without cgroup v2.
const CgroupVar = "PORT_TEST_CGROUP"

// Main runs the tests as a process in a network namespace of its own: all
// threads of a server have to be in one. It also has a cgroup of its own, so that no
// other process of the machine is subject to what the tests guard.
func Main(m *testing.M) {
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
		dir := filepath.Join(top, fmt.Sprintf("linkspan-port-test-%d", os.Getpid()))
		f, err := ownCgroup(dir)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.Remove(dir)
		defer f.Close()
		c.Env = append(c.Env, CgroupVar+"="+dir)
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

// Reserve makes a row of a port, or of the first and the last of a range.
func Reserve(protocol model.Protocol, addr string, ports ...uint16) desired.Reserve {
	return desired.Reserve{Protocol: protocol, Addr: netip.MustParseAddr(addr), First: ports[0], Last: ports[len(ports)-1]}
}

// To makes a row from a host's address and ports to one of a container.
func To(protocol model.Protocol, host string, first, last uint16, target string) desired.Forward {
	at := netip.MustParseAddrPort(target)
	return desired.Forward{Protocol: protocol, Host: netip.MustParseAddr(host), First: first, Last: last, To: at.Addr(), ToFirst: at.Port()}
}

// Wanted returns the changes that bring rows.
func Wanted(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, row := range rows {
		out = append(out, desired.Delta{Owner: "test", New: row})
	}
	return out
}

// Unwanted returns the changes that take rows away.
func Unwanted(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, d := range Wanted(rows...) {
		out = append(out, d.Invert())
	}
	return out
}

// StateOf returns a state of exactly these rows.
func StateOf(t testing.TB, rows ...desired.Row) desired.State {
	t.Helper()
	state, err := desired.State{}.Replace("test", rows)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// TryBind opens a socket as another process would, and returns what came of it.
func TryBind(network, address string) error {
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

// Eventually polls until f holds.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) { // poll
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// Listen accepts connections and hands each to serve, until the test ends.
func Listen(t testing.TB, address string, serve func(*net.TCPConn)) string {
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

// Echo sends everything back, and then that this was all.
func Echo(c *net.TCPConn) { io.Copy(c, c) }

// Afterwards answers only when the client has said everything: without half-close
// it never gets to that.
func Afterwards(c *net.TCPConn) {
	all, err := io.ReadAll(c)
	if err == nil {
		fmt.Fprintf(c, "got %d", len(all))
	}
}

// Mirror answers datagrams with their sender's port and what they say.
func Mirror(t testing.TB, address string) string {
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

// Dial connects, until the test ends.
func Dial(t testing.TB, address string) *net.TCPConn {
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

// Talk says something on a connection and returns as much of the answer.
func Talk(t testing.TB, c net.Conn, say string) string {
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

// Ask sends a datagram, again and again, until there is an answer.
func Ask(t testing.TB, c net.Conn, say string) string {
	t.Helper()
	b := make([]byte, 65536)
	var answer string
	Eventually(t, "an answer over UDP", func() bool {
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

// Refusal is how a connection fails: when it is made or when it is read.
func Refusal(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 1))
	return err
}

// Silent tells whether a connection attempt gets no answer at all.
func Silent(t testing.TB, address string) bool {
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

// OpenFiles returns how many descriptors the process has.
func OpenFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// Guarded is a reservation of too many ports for a socket each.
func Guarded(protocol model.Protocol, addr string) desired.Reserve {
	return Reserve(protocol, addr, 10000, 19999)
}

// ExpectBind tries to bind as another process would.
func ExpectBind(t testing.TB, network, at string, want error) {
	t.Helper()
	if err := TryBind(network, at); !errors.Is(err, want) {
		t.Errorf("%s %s: %v, want %v", network, at, err, want)
	}
}

// Self is how the process of this test is named.
func Self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(exe)
	return fmt.Sprintf("process %s, pid %d", name[:min(len(name), 15)], os.Getpid())
}
