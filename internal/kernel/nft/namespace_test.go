package nft

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/fence"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// namespace is a network namespace of its own that dies with the test.
type namespace struct {
	t    testing.TB
	file *os.File
	link *netlink.Handle
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := &namespace{t: t}
	n.thread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	t.Cleanup(func() { n.file.Close() })
	var err error
	if n.link, err = netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.link.Close)
	n.up("lo")
	return n
}

func (n *namespace) fd() int { return int(n.file.Fd()) }

// do runs f on a thread inside the namespace.
func (n *namespace) do(f func() error) {
	n.t.Helper()
	n.thread(func() error {
		if err := unix.Setns(n.fd(), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// thread runs f on a thread that ends with it, since it is in the wrong
// namespace afterwards.
func (n *namespace) thread(f func() error) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		done <- f()
	}()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// run runs a command inside the namespace and returns its output.
func (n *namespace) run(name string, args ...string) string {
	n.t.Helper()
	var out []byte
	n.do(func() (err error) {
		if out, err = exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	})
	return string(out)
}

func (n *namespace) nft(args ...string) string {
	n.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		n.t.Skip("needs nft to read back")
	}
	return n.run("nft", args...)
}

func (n *namespace) sysctl(path, value string) {
	n.t.Helper()
	n.do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
}

func (n *namespace) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *namespace) up(name string) {
	n.t.Helper()
	l, err := n.link.LinkByName(name)
	n.must(err)
	n.must(n.link.LinkSetUp(l))
}

// bridge makes a bridge with addresses, up and without snooping, so that it
// floods what it does not know.
func (n *namespace) bridge(name, mac string, addrs ...string) {
	n.t.Helper()
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, parseMAC(mac)
	n.must(n.link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}))
	n.address(name, addrs...)
}

// address gives addresses to a link and brings it up.
func (n *namespace) address(name string, addrs ...string) {
	n.t.Helper()
	n.sysctl("net/ipv6/conf/"+name+"/accept_dad", "0")
	l, err := n.link.LinkByName(name)
	n.must(err)
	n.must(n.link.LinkSetUp(l))
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		n.must(err)
		a.Flags |= unix.IFA_F_NODAD
		n.must(n.link.AddrAdd(l, a))
	}
}

// cable joins two namespaces by a veth pair.
func cable(a *namespace, aName, aMAC string, b *namespace, bName, bMAC string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = aName, parseMAC(aMAC)
	a.must(a.link.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: bName, PeerHardwareAddr: parseMAC(bMAC), PeerNamespace: netlink.NsFd(b.fd()),
	}))
}

// enslave makes a link a port of a bridge, in an interface group, and up.
func (n *namespace) enslave(name, bridge string, group uint32) {
	n.t.Helper()
	l, err := n.link.LinkByName(name)
	n.must(err)
	br, err := n.link.LinkByName(bridge)
	n.must(err)
	n.must(n.link.LinkSetGroup(l, int(group)))
	n.must(n.link.LinkSetMaster(l, br))
	n.must(n.link.LinkSetUp(l))
}

// fence puts a bridge's fence in place, as the engine does.
func (n *namespace) fence(row desired.Fence) {
	n.t.Helper()
	l, err := n.link.LinkByName(row.Link)
	n.must(err)
	n.do(func() error {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			return err
		}
		defer c.Close()
		return fence.Put(c, l.Attrs().Index, row)
	})
}

// port sets up a bridge's port as the engine sets up its own.
func (n *namespace) port(name string) {
	n.t.Helper()
	n.do(func() error {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			return err
		}
		defer c.Close()
		return link.SetPort(c, name)
	})
}

func (n *namespace) neighbour(name, ip, mac string) {
	n.t.Helper()
	l, err := n.link.LinkByName(name)
	n.must(err)
	n.must(n.link.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.ParseIP(ip), HardwareAddr: parseMAC(mac),
	}))
}

func parseMAC(s string) net.HardwareAddr {
	mac, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return mac
}

func newBackend(t testing.TB, n *namespace) *Backend {
	t.Helper()
	b, err := New(Options{Instance: "test", NetNS: n.fd()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func resync(t testing.TB, b *Backend, rows ...desired.Row) desired.Report {
	t.Helper()
	r, err := b.Resync(context.Background(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func apply(t testing.TB, b *Backend, deltas ...desired.Delta) {
	t.Helper()
	if err := b.Apply(context.Background(), deltas); err != nil {
		t.Fatal(err)
	}
}

func added(rows ...desired.Row) []desired.Delta {
	var out []desired.Delta
	for _, r := range rows {
		out = append(out, desired.Delta{Owner: "test/" + desired.Owner(r.Key().Name), New: r})
	}
	return out
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}
