package wireguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/netns"
	"github.com/linkspan/linkspan/internal/kernel/sockets"
	"github.com/linkspan/linkspan/internal/kernel/tun"
	"github.com/linkspan/linkspan/internal/wireguard/key"
)

// bench is a host with two namespaces, "a" and "b", each of which has a tunnel to the other:
// what is sent in one comes in the other, by UDP between ports of the host.
type bench struct {
	t    *testing.T
	host kerneltest.Host
	dir  *netns.Dir
	ends map[string]*end
	// words counts what was sent.
	words int
}

// end is one of the two.
type end struct {
	*Server
	addr netip.Addr // in the tunnel
	row  desired.WireGuard
}

// bindIn opens the sockets of a Server in the test's own namespace.
type bindIn struct {
	conn.Bind
	b *bench
}

func (i bindIn) Open(port uint16) (fns []conn.ReceiveFunc, actual uint16, err error) {
	i.b.host.Do(i.b.t, func() { fns, actual, err = i.Bind.Open(port) })
	return fns, actual, err
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, host: kerneltest.New(t), ends: map[string]*end{}}
	b.dir = b.host.Namespaces(t)
	for i, name := range []string{"a", "b"} {
		if err := b.dir.Create(t.Context(), name, func(*os.File) error { return nil }); err != nil {
			t.Fatal(err)
		}
		e := &end{Server: New(Options{Namespaces: sockets.Opener{Namespaces: b.dir}}), addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)})}
		e.opener.bind = func() conn.Bind { return bindIn{conn.NewDefaultBind(), b} }
		file := filepath.Join(t.TempDir(), "key")
		public, err := key.LoadOrCreate(file)
		if err != nil {
			t.Fatal(err)
		}
		e.row = desired.WireGuard{Namespace: name, Link: "wg-test", Port: uint16(4790 + i), MTU: 1440, PublicKey: public, KeyFile: file}
		b.ends[name] = e
		t.Cleanup(e.Close)
		b.link(name)
	}
	return b
}

// link makes the interface of an end, as the kernel's rows do: the kernel's WireGuard, or a
// TUN where it has none.
func (b *bench) link(name string) {
	file, err := b.dir.Open(name)
	if err != nil {
		b.t.Fatal(err)
	}
	defer file.Close()
	b.host.Do(b.t, func() {
		err = netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wg-test", Namespace: netlink.NsFd(file.Fd())}})
	})
	inKernel := err == nil
	b.t.Logf("in the kernel: %t", inKernel)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		b.t.Fatal(err)
	}
	b.in(name, func() error {
		if !inKernel {
			if err := tun.Create("wg-test"); err != nil {
				return err
			}
		}
		l, err := netlink.LinkByName("wg-test")
		if err != nil {
			return err
		}
		own := &net.IPNet{IP: b.ends[name].addr.AsSlice(), Mask: net.CIDRMask(32, 32)}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: own}); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
	})
}

func (b *bench) in(name string, f func() error) {
	b.t.Helper()
	if err := b.dir.Do(b.t.Context(), name, f); err != nil {
		b.t.Fatal(err)
	}
}

// peer is what one end is told of the other.
func (b *bench) peer(name, other string) desired.WireGuardPeer {
	o := b.ends[other]
	return desired.WireGuardPeer{
		Namespace: name, Link: "wg-test", Allowed: o.addr, PublicKey: o.row.PublicKey,
		Endpoint: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), o.row.Port),
	}
}

func (b *bench) apply(name string, deltas ...desired.Delta) {
	b.t.Helper()
	for i := range deltas {
		deltas[i].Owner = desired.TunnelOwner
	}
	if err := b.ends[name].Apply(b.t.Context(), deltas); err != nil {
		b.t.Fatal(err)
	}
}

// passes tells whether a packet from one end, under an address, arrives at the other within a
// time, sent again and again.
func (b *bench) passes(from, to string, source netip.Addr, within time.Duration) bool {
	b.t.Helper()
	var in, out net.PacketConn
	b.in(to, func() (err error) { in, err = net.ListenPacket("udp4", ":5000"); return err })
	defer in.Close()
	b.in(from, func() (err error) {
		out, err = net.ListenPacket("udp4", net.JoinHostPort(source.String(), "0"))
		return err
	})
	defer out.Close()
	b.words++ // what an earlier question has sent may come late: it waits for a handshake
	word := fmt.Sprint("hello ", b.words)
	buffer := make([]byte, 64)
	for end := time.Now().Add(within); time.Now().Before(end); {
		_, _ = out.WriteTo([]byte(word), net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.ends[to].addr, 5000))) // it may be down
		_ = in.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if n, _, err := in.ReadFrom(buffer); err == nil && string(buffer[:n]) == word {
			return true
		}
	}
	return false
}

const (
	soon   = 10 * time.Second       // by when what must pass does, on a machine with much to do
	enough = 300 * time.Millisecond // what would pass has done so
)

// TestTunnel: packets pass between hosts that know one another, under their own addresses
// only, as long as they do; and again after an interface was taken away.
func TestTunnel(t *testing.T) {
	b := newBench(t)
	a, z := b.ends["a"], b.ends["b"]
	b.apply("a", desired.Delta{New: a.row}, desired.Delta{New: b.peer("a", "b")})
	b.apply("b", desired.Delta{New: z.row})
	if b.passes("a", "b", a.addr, enough) {
		t.Error("a host that is nobody's peer is heard")
	}
	b.apply("b", desired.Delta{New: b.peer("b", "a")})
	if !b.passes("a", "b", a.addr, soon) || !b.passes("b", "a", z.addr, soon) {
		t.Fatal("nothing passes")
	}

	other := netip.MustParseAddr("192.0.2.99")
	b.in("a", func() error {
		l, err := netlink.LinkByName("wg-test")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: other.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	})
	if b.passes("a", "b", other, enough) {
		t.Error("a host is heard under an address that is not its own")
	}

	b.in("b", func() error {
		l, err := netlink.LinkByName("wg-test")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	b.link("b")
	if !b.passes("a", "b", a.addr, soon) {
		t.Error("an interface that is back is not taken up again")
	}

	b.apply("b", desired.Delta{Old: b.peer("b", "a")})
	if b.passes("a", "b", a.addr, enough) || b.passes("b", "a", z.addr, enough) {
		t.Error("who is no peer any more is heard, or told")
	}
}

// TestAnotherKey: a host that has made itself another key is heard again once the other was
// told, and not with the one before.
func TestAnotherKey(t *testing.T) {
	b := newBench(t)
	a, z := b.ends["a"], b.ends["b"]
	b.apply("a", desired.Delta{New: a.row}, desired.Delta{New: b.peer("a", "b")})
	b.apply("b", desired.Delta{New: z.row}, desired.Delta{New: b.peer("b", "a")})
	if !b.passes("a", "b", a.addr, soon) {
		t.Fatal("nothing passes")
	}
	before, old := a.row, b.peer("b", "a")
	a.row.KeyFile += "2"
	var err error
	if a.row.PublicKey, err = key.LoadOrCreate(a.row.KeyFile); err != nil {
		t.Fatal(err)
	}
	b.apply("a", desired.Delta{Old: before, New: a.row})
	if b.passes("a", "b", a.addr, enough) {
		t.Error("another key is taken for the one before")
	}
	b.apply("b", desired.Delta{Old: old, New: b.peer("b", "a")})
	if !b.passes("a", "b", a.addr, soon) {
		t.Error("the new key is not followed")
	}
}

// TestResync: what is as wanted is not written, what is not is named, a Server that took over
// does the same, and one that was released does nothing.
func TestResync(t *testing.T) {
	b := newBench(t)
	a, z := b.ends["a"], b.ends["b"]
	state := func(rows ...desired.Row) desired.State {
		s, err := desired.State{}.Replace(desired.TunnelOwner, rows)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	resync := func(e *end, rows ...desired.Row) []string {
		t.Helper()
		dry, err := e.Check(t.Context(), state(rows...))
		if err != nil {
			t.Fatal(err)
		}
		r, err := e.Resync(t.Context(), state(rows...))
		if err != nil || len(r.Drift) != r.Writes || len(dry.Drift) > len(r.Drift) {
			t.Fatalf("%+v after %+v, %v", r, dry, err)
		}
		return r.Drift
	}
	both := []desired.Row{a.row, b.peer("a", "b")}
	if d := resync(a, both...); len(d) != 2 || !strings.HasSuffix(d[0], "not open") || !strings.HasPrefix(d[1], "peer "+z.row.PublicKey) {
		t.Errorf("at first: %q", d)
	}
	if d := resync(a, both...); len(d) != 0 {
		t.Errorf("again: %q", d)
	}
	if rows := a.Rows(); fmt.Sprint(rows) != fmt.Sprint(both) {
		t.Errorf("rows %v", rows)
	}
	b.apply("b", desired.Delta{New: z.row}, desired.Delta{New: b.peer("b", "a")})
	if !b.passes("a", "b", a.addr, soon) {
		t.Error("nothing passes")
	}

	successor := New(Options{Namespaces: sockets.Opener{Namespaces: b.dir}})
	successor.opener.bind = a.opener.bind
	t.Cleanup(successor.Close)
	if err := successor.Adopt(t.Context(), a.Release()); err != nil || len(a.Rows()) != 0 {
		t.Fatalf("%v, left %v", err, a.Rows())
	}
	if !b.passes("b", "a", z.addr, soon) {
		t.Error("nothing passes after another took over")
	}
	a.Server = successor
	if d := resync(a); len(d) != 1 || !strings.HasSuffix(d[0], "left over") {
		t.Errorf("without rows: %q", d)
	}
	if successor.stop != nil || len(successor.tunnels) != 0 {
		t.Error("somebody looks after nothing")
	}
}

// TestRefused: without its interface, its namespace or its key a tunnel is refused, with the
// row that it was; and is there as soon as nothing is missing.
func TestRefused(t *testing.T) {
	b := newBench(t)
	a := b.ends["a"]
	for what, change := range map[string]func(*desired.WireGuard){
		"interface":           func(r *desired.WireGuard) { r.Link = "none" },
		"namespace":           func(r *desired.WireGuard) { r.Namespace = "none" },
		"key file":            func(r *desired.WireGuard) { r.KeyFile += "-none" },
		"key of another pair": func(r *desired.WireGuard) { r.PublicKey = b.ends["b"].row.PublicKey },
	} {
		row := a.row
		change(&row)
		err := a.Apply(context.Background(), []desired.Delta{{Owner: desired.TunnelOwner, New: row}})
		if f := desired.Failures(err); len(f) != 1 || f[0].Key != row.Key() || f[0].Owner != desired.TunnelOwner {
			t.Errorf("%s: %v", what, err)
		}
		b.apply("a", desired.Delta{Old: row})
	}
	b.apply("a", desired.Delta{New: a.row})
	if !slices.Equal(a.Rows(), []desired.Row{a.row}) {
		t.Error(a.Rows())
	}
}
