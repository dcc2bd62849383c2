package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/lab"
)

const (
	// flushes is how often the ruleset is flushed.
	flushes = 50
	// peace is between two flushes: who comes sooner meets a pause (limits.Pause).
	peace = 1200 * time.Millisecond
	// stalled is when a connection counts as broken.
	stalled = 15 * time.Second
)

// BenchmarkRepair gives the time from `nft flush ruleset` until the tables are back, its
// own included, with the daemon and without, while connections to and from containers go
// on: how many of them broke, and what was reached that must not be: the host's 127.0.0.1,
// the world from an internal network, a container's own address.
func BenchmarkRepair(b *testing.B) {
	engine := os.Getenv("LINKSPAND_BIN")
	if engine == "" || os.Geteuid() != 0 {
		b.Skip("needs root, and $LINKSPAND_BIN")
	}
	for _, daemon := range []bool{true, false} {
		b.Run(fmt.Sprintf("daemon=%t", daemon), func(b *testing.B) { flushUnderTraffic(b, engine, daemon) })
	}
}

// traffic is what goes on meanwhile.
type traffic struct {
	b        *testing.B
	ctx      context.Context
	world    *lab.World
	host     *lab.Host
	work     sync.WaitGroup
	stopping atomic.Bool
	echoes   atomic.Int64
	broken   atomic.Int64
	loopback atomic.Int64 // the host's 127.0.0.1 from outside
	inside   atomic.Int64 // the world from an internal network
	direct   atomic.Int64 // a container's own address from outside
}

func flushUnderTraffic(b *testing.B, engine string, daemon bool) {
	engine, err := filepath.Abs(engine)
	if err != nil {
		b.Fatal(err)
	}
	l := lab.New(b, lab.Options{Engine: engine})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t := &traffic{b: b, ctx: ctx, world: l.World(), host: l.Host(1)}
	if err := t.host.Start(ctx); err != nil {
		b.Fatal(err)
	}
	if err := t.host.Load(ctx, "busybox", "nginx", "tools"); err != nil {
		b.Fatal(err)
	}
	t.begin()
	if !daemon {
		if err := t.host.Kill(ctx); err != nil {
			b.Fatal(err)
		}
	}
	var times []time.Duration
	for b.Loop() {
		for range flushes {
			times = append(times, t.flush())
			time.Sleep(peace) // there is nothing to wait for: who comes sooner meets a pause
		}
	}
	t.stopping.Store(true)
	t.work.Wait()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms/p50")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "ms/p99")
	b.ReportMetric(float64(t.echoes.Load()), "echoes")
	b.ReportMetric(float64(t.broken.Load()), "broken")
	b.ReportMetric(float64(t.loopback.Load()+t.inside.Load()+t.direct.Load()), "reached")
	t.end(daemon)
}

func (t *traffic) docker(args ...string) string {
	t.b.Helper()
	out, err := t.host.Docker(t.ctx, args...)
	if err != nil {
		t.b.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// begin starts containers and connections.
func (t *traffic) begin() {
	const echo = "socat tcp-listen:7000,fork,reuseaddr exec:cat"
	t.docker("network", "create", "--internal", "--subnet", "10.60.0.0/24", "inside")
	t.docker("run", "-d", "--name", "echo", "-p", "7000:7000", "tools", "sh", "-c", echo)
	t.docker("run", "-d", "--name", "web", "-p", "127.0.0.1:8081:80", "nginx")
	t.docker("run", "-d", "--name", "prisoner", "--network", "inside", "tools", "sleep", "10000")
	t.docker("exec", "--privileged", "prisoner", "ip", "route", "add", "default", "via", "10.60.0.1")
	own := t.docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web")
	if _, err := t.world.Run(t.ctx, "ip", "route", "add", "172.16.0.0/12", "via", t.host.Addr4.String()); err != nil {
		t.b.Fatal(err)
	}
	world := t.world.Addr4.String()
	var out net.Listener
	var heard net.PacketConn
	t.inWorld(func() (err error) {
		if out, err = net.Listen("tcp", world+":9000"); err == nil {
			heard, err = net.ListenPacket("udp", world+":9999")
		}
		return err
	})
	context.AfterFunc(t.ctx, func() { out.Close(); heard.Close() })
	for range 4 {
		t.work.Go(func() { t.keepUp(t.dialWorld(t.host.Addr4.String() + ":7000")) })
		t.docker("exec", "-d", "echo", "socat", "tcp:"+world+":9000", "exec:cat")
		conn, err := out.Accept()
		if err != nil {
			t.b.Fatal(err)
		}
		t.work.Go(func() { t.keepUp(conn) })
	}
	t.docker("exec", "-d", "prisoner", "sh", "-c", "while :; do echo x | socat -u - udp:"+world+":9999; done")
	go func() {
		for buf := make([]byte, 16); ; t.inside.Add(1) {
			if _, _, err := heard.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	t.work.Go(func() { t.probe(t.host.Addr4.String()+":8081", &t.loopback) })
	t.work.Go(func() { t.probe(own+":80", &t.direct) })
}

// inWorld calls f on a thread in the world's namespace.
func (t *traffic) inWorld(f func() error) {
	t.b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	enter := func(path string) func() error {
		file, err := os.Open(path)
		if err != nil {
			t.b.Error(err)
			return func() error { return err }
		}
		return func() error {
			defer file.Close()
			return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		}
	}
	back := enter("/proc/thread-self/ns/net")
	if err := enter(fmt.Sprintf("/proc/%d/ns/net", t.world.PID()))(); err != nil {
		t.b.Error(err)
		return
	}
	if err := errors.Join(f(), back()); err != nil {
		t.b.Error(err)
	}
}

func (t *traffic) dialWorld(address string) (conn net.Conn) {
	t.inWorld(func() (err error) {
		conn, err = net.Dial("tcp", address)
		return err
	})
	return conn
}

// keepUp sends and waits for the echo, until told to stop.
func (t *traffic) keepUp(conn net.Conn) {
	if conn == nil {
		t.broken.Add(1)
		return
	}
	defer conn.Close()
	line, back := []byte("0123456789abcdef"), make([]byte, 16)
	for !t.stopping.Load() {
		if conn.SetDeadline(time.Now().Add(stalled)) != nil {
			return
		}
		_, err := conn.Write(line)
		if err == nil {
			_, err = io.ReadFull(conn, back)
		}
		if err != nil {
			t.b.Logf("a connection to %s broke: %v", conn.RemoteAddr(), err)
			t.broken.Add(1)
			return
		}
		t.echoes.Add(1)
		time.Sleep(2 * time.Millisecond) // the pace of the traffic
	}
}

// probe tries to connect to where nobody may, and counts how often it can.
func (t *traffic) probe(address string, reached *atomic.Int64) {
	t.inWorld(func() error {
		for !t.stopping.Load() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			limit := unix.NsecToTimeval((10 * time.Millisecond).Nanoseconds())
			_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit) // bounds connect(2)
			to, err := net.ResolveTCPAddr("tcp4", address)
			if err == nil && unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}) == nil {
				reached.Add(1)
			}
			unix.Close(fd)
			time.Sleep(time.Millisecond) // the pace of the attempts
		}
		return nil
	})
}

// flush flushes the ruleset and waits until both tables are back with what is in them.
func (t *traffic) flush() time.Duration {
	began := time.Now()
	if _, err := t.host.Run(t.ctx, "nft", "flush ruleset"); err != nil {
		t.b.Fatal(err)
	}
	for {
		pins, _ := t.host.Run(t.ctx, "nft", "list set bridge linkspan pinned")
		ports, _ := t.host.Run(t.ctx, "nft", "list map inet linkspan ports4_any")
		if strings.Contains(pins, "veth") && strings.Contains(ports, "7000") {
			return time.Since(began)
		}
		if time.Since(began) > stalled {
			t.b.Fatal("the tables do not come back")
		}
	}
}

// end leaves nothing behind.
func (t *traffic) end(daemon bool) {
	if !daemon {
		if err := t.host.Start(t.ctx); err != nil {
			t.b.Fatal(err)
		}
	}
	t.docker("rm", "-f", "echo", "web", "prisoner")
	t.docker("network", "rm", "inside")
	if err := t.host.Stop(t.ctx); err != nil {
		t.b.Error(err)
	}
}
