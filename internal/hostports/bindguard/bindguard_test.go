package bindguard

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Variables that tell the process of the tests where it is.
const (
	cgroupVar = "BINDGUARD_TEST_CGROUP" // its own
	holdVar   = "BINDGUARD_TEST_HOLD"   // it only holds ports until it is killed
)

// TestMain runs the tests as a process with a network namespace and a cgroup of its
// own: no other process of the machine is ever subject to a Guard of the tests.
func TestMain(m *testing.M) {
	if os.Getenv(holdVar) != "" {
		hold()
	}
	top, err := Root()
	if os.Geteuid() != 0 || err != nil {
		fmt.Println("most tests are skipped: they need root and cgroup v2")
		os.Exit(m.Run())
	}
	if os.Getenv(cgroupVar) != "" {
		os.Exit(m.Run())
	}
	dir := filepath.Join(top, fmt.Sprintf("linkspan-bindguard-test-%d", os.Getpid()))
	code, err := inside(dir)
	if err != nil {
		fmt.Println(err)
	}
	if err := os.Remove(dir); err != nil {
		fmt.Println(err)
	}
	os.Exit(code)
}

// inside runs the tests in a new cgroup, and says how they ended.
func inside(dir string) (int, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 1, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return 1, err
	}
	defer f.Close()
	c := exec.Command(os.Args[0], os.Args[1:]...)
	c.Env = append(os.Environ(), cgroupVar+"="+dir)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL, UseCgroupFD: true, CgroupFD: int(f.Fd()),
	}
	if err := c.Run(); err != nil {
		return 1, err
	}
	return 0, nil
}

// hold is another process, with a Guard.
func hold() {
	g := New(Options{Cgroup: os.Getenv(cgroupVar)})
	if err := g.Set([]desired.Reserve{reserve(model.TCP, "0.0.0.0", 7000, 7999)}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	select {}
}

func start(t testing.TB, rows ...desired.Reserve) *Guard {
	t.Helper()
	dir := os.Getenv(cgroupVar)
	if dir == "" {
		t.Skip("needs root and cgroup v2")
	}
	g := New(Options{Cgroup: dir})
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	set(t, g, rows...)
	return g
}

func set(t testing.TB, g *Guard, rows ...desired.Reserve) {
	t.Helper()
	if err := g.Set(rows); err != nil {
		t.Fatalf("Set: %v", err)
	}
}

func reserve(protocol model.Protocol, addr string, first, last uint16) desired.Reserve {
	return desired.Reserve{Protocol: protocol, Addr: netip.MustParseAddr(addr), First: first, Last: last}
}

// bind asks for a port with a socket of its own and returns the system's error. A
// negative family is IPv6 with addresses of IPv4 too.
func bind(t testing.TB, family, kind int, at string) error {
	t.Helper()
	a := netip.MustParseAddrPort(at)
	dual := family < 0
	if dual {
		family = -family
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if family == unix.AF_INET {
		return unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	}
	only := 1
	if dual {
		only = 0
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1); err != nil {
		t.Fatal(err)
	}
	return unix.Bind(fd, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
}

const (
	four   = unix.AF_INET
	six    = unix.AF_INET6
	both   = -unix.AF_INET6
	stream = unix.SOCK_STREAM
	dgram  = unix.SOCK_DGRAM
)

func TestWhatIsRefused(t *testing.T) {
	loopbackUp(t)
	for _, c := range []struct {
		row     desired.Reserve
		family  int
		kind    int
		at      string
		refused bool
	}{
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), four, stream, "0.0.0.0:7000", true},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), four, stream, "127.0.0.1:7999", true},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), four, stream, "127.0.0.1:6999", false},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), four, stream, "127.0.0.1:8000", false},
		{reserve(model.TCP, "0.0.0.0", 1, 65535), four, stream, "127.0.0.1:65535", true},
		{reserve(model.TCP, "0.0.0.0", 1, 65535), four, stream, "127.0.0.1:0", false},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), four, dgram, "127.0.0.1:7500", false},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), both, stream, "[::]:7500", true},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), both, stream, "[::ffff:127.0.0.1]:7500", true},
		{reserve(model.TCP, "0.0.0.0", 7000, 7999), six, stream, "[::1]:7500", false},
		{reserve(model.TCP, "127.0.0.1", 7000, 7999), four, stream, "0.0.0.0:7500", true},
		{reserve(model.TCP, "127.0.0.1", 7000, 7999), four, stream, "127.0.0.1:7500", true},
		{reserve(model.TCP, "127.0.0.1", 7000, 7999), four, stream, "127.0.0.2:7500", false},
		{reserve(model.TCP, "127.0.0.1", 7000, 7999), both, stream, "[::ffff:127.0.0.1]:7500", true},
		{reserve(model.TCP, "127.0.0.1", 7000, 7999), both, stream, "[::ffff:127.0.0.2]:7500", false},
		{reserve(model.TCP, "::", 7000, 7999), six, stream, "[::]:7500", true},
		{reserve(model.TCP, "::", 7000, 7999), six, stream, "[::1]:7500", true},
		{reserve(model.TCP, "::", 7000, 7999), four, stream, "0.0.0.0:7500", false},
		{reserve(model.TCP, "::", 7000, 7999), both, stream, "[::ffff:127.0.0.1]:7500", false},
		{reserve(model.TCP, "2001:db8::1", 7000, 7999), six, stream, "[::]:7500", true},
		{reserve(model.TCP, "2001:db8::1", 7000, 7999), six, stream, "[2001:db8::1]:7500", true},
		{reserve(model.TCP, "2001:db8::1", 7000, 7999), six, stream, "[2001:db8::2]:7500", false},
		{reserve(model.TCP, "2001:db8::1", 7000, 7999), six, stream, "[::1]:7500", false},
		{reserve(model.UDP, "0.0.0.0", 7000, 7999), four, dgram, "127.0.0.1:7500", true},
		{reserve(model.UDP, "::", 7000, 7999), six, dgram, "[::1]:7500", true},
		{reserve(model.UDP, "::", 7000, 7999), six, stream, "[::1]:7500", false},
		{reserve(model.SCTP, "0.0.0.0", 7000, 7999), four, stream, "127.0.0.1:7500", false},
	} {
		t.Run(fmt.Sprintf("%s against %s", c.row, c.at), func(t *testing.T) {
			g := start(t, c.row)
			if err := bind(t, c.family, c.kind, c.at); c.refused != (err == unix.EADDRINUSE) || !c.refused && err != nil {
				t.Errorf("got %v, refused should be %t", err, c.refused)
			}
			set(t, g)
			if err := bind(t, c.family, c.kind, c.at); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func loopbackUp(t *testing.T) {
	t.Helper()
	if os.Getenv(cgroupVar) == "" {
		t.Skip("needs root and cgroup v2")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		t.Fatal(err)
	}
}

// TestListenersOfGo: a listener of the standard library is one of MPTCP.
func TestListenersOfGo(t *testing.T) {
	loopbackUp(t)
	start(t, reserve(model.TCP, "0.0.0.0", 7000, 7999), reserve(model.TCP, "::", 7000, 7999))
	for _, at := range []string{":7500", "127.0.0.1:7500", "[::1]:7500"} {
		l, err := net.Listen("tcp", at)
		if err == nil {
			l.Close()
			t.Errorf("somebody listens at %s", at)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:8000")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestOtherNamespacesDoNotNotice: what is held is the port of one namespace.
func TestOtherNamespacesDoNotNotice(t *testing.T) {
	start(t, reserve(model.TCP, "0.0.0.0", 1, 65535), reserve(model.TCP, "::", 1, 65535))
	elsewhere := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			elsewhere <- err
			return
		}
		err := bind(t, four, stream, "0.0.0.0:7500")
		if err == nil {
			err = bind(t, six, stream, "[::]:7500")
		}
		elsewhere <- err
	}()
	if err := <-elsewhere; err != nil {
		t.Errorf("in another namespace: %v", err)
	}
	if err := bind(t, four, stream, "0.0.0.0:7500"); err != unix.EADDRINUSE {
		t.Errorf("in this one: %v", err)
	}
}

func TestPass(t *testing.T) {
	start(t, reserve(model.TCP, "0.0.0.0", 7000, 7999))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := Pass(fd, func() error { return unix.Bind(fd, &unix.SockaddrInet4{Port: 7500}) }); err != nil {
		t.Errorf("bind: %v", err)
	}
	if mark, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK); err != nil || mark != 0 {
		t.Errorf("afterwards the mark is %d, %v", mark, err)
	}
}

// TestReplacement: rows change in place, and two Guards hold what either has, as
// while one process follows another.
func TestReplacement(t *testing.T) {
	first := start(t, reserve(model.TCP, "0.0.0.0", 7000, 7999))
	second := start(t, reserve(model.TCP, "0.0.0.0", 7500, 8999))
	expect := func(at string, want error) {
		t.Helper()
		if err := bind(t, four, stream, at); err != want {
			t.Errorf("%s: %v, want %v", at, err, want)
		}
	}
	expect("0.0.0.0:7000", unix.EADDRINUSE)
	expect("0.0.0.0:8000", unix.EADDRINUSE)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	expect("0.0.0.0:7000", nil)
	expect("0.0.0.0:7500", unix.EADDRINUSE)
	set(t, second, reserve(model.TCP, "127.0.0.1", 7000, 7000))
	set(t, second, reserve(model.TCP, "127.0.0.1", 7000, 7000))
	expect("127.0.0.1:7000", unix.EADDRINUSE)
	expect("0.0.0.0:8000", nil)
	set(t, second, reserve(model.TCP, "::", 7000, 7000)) // IPv4 is of no more concern
	expect("127.0.0.1:7000", nil)
	set(t, second, reserve(model.TCP, "127.0.0.1", 7000, 7000))
	expect("127.0.0.1:7000", unix.EADDRINUSE)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	expect("127.0.0.1:7000", nil)
	set(t, second, reserve(model.TCP, "127.0.0.1", 7000, 7000)) // once more
	expect("127.0.0.1:7000", unix.EADDRINUSE)
}

// TestEndOfTheProcess: however it ends, nothing is left in the kernel.
func TestEndOfTheProcess(t *testing.T) {
	start(t)
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), holdVar+"=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	said, _ := bufio.NewReader(out).ReadString('\n')
	if said != "held\n" {
		t.Errorf("it says %q", said)
	}
	if err := bind(t, four, stream, "0.0.0.0:7500"); err != unix.EADDRINUSE {
		t.Errorf("while it lives: %v", err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
	if err := bind(t, four, stream, "0.0.0.0:7500"); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

// TestManyRows: as many as there may be fit, and one more is refused and changes
// nothing.
func TestManyRows(t *testing.T) {
	var rows []desired.Reserve
	for i := range maxRows {
		rows = append(rows, reserve(model.UDP, fmt.Sprintf("2001:db8::%x", i+1), 7000, 9000))
	}
	g := start(t, rows...)
	at := fmt.Sprintf("[2001:db8::%x]:8000", maxRows)
	if err := bind(t, six, dgram, at); err != unix.EADDRINUSE {
		t.Errorf("the last: %v", err)
	}
	if err := g.Set(append(rows, reserve(model.TCP, "::", 1, 2))); err == nil {
		t.Error("one more is taken")
	}
	if err := bind(t, six, dgram, at); err != unix.EADDRINUSE {
		t.Errorf("the last, after one too many: %v", err)
	}
}

// TestOlderKernels: without a choice of the error it is EPERM.
func TestOlderKernels(t *testing.T) {
	l := listing{rows: []desired.Reserve{reserve(model.TCP, "0.0.0.0", 1, 2)}, plain: true}
	for _, i := range l.program(0) {
		if i.IsBuiltinCall() && strings.Contains(fmt.Sprint(i), "FnSetRetval") {
			t.Error("the error is chosen nevertheless")
		}
	}
}

func TestRoot(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"25 30 0:23 / /sys rw - sysfs sysfs rw\nnonsense\n1 2 3 4 - cgroup2\n", ""},
		{"41 31 0:38 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup"},
		{"40 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"41 31 0:38 /some/group /a rw - cgroup2 c rw\n42 31 0:38 / /with\\040space rw - cgroup2 c rw\n43 31 0:38 / /c rw - cgroup2 c rw\n", "/with space"},
	} {
		got, err := root(strings.NewReader(c.text))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v", c.text, got, err)
		}
	}
}

func BenchmarkSet(b *testing.B) {
	g := start(b)
	for i := range b.N {
		set(b, g, reserve(model.TCP, "0.0.0.0", 10000, 19999), reserve(model.TCP, "::", 10000, uint16(20000+i%2)))
	}
}
