// Package namespaces gives tests of firewalls network namespaces of their own, which
// die with the test, and joins them by cables.
//
// It must never be imported outside tests.
package namespaces

import (
	"fmt"
	"net"
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
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Namespace is a network namespace of its own that dies with the test.
type Namespace struct {
	t    testing.TB
	file *os.File
	Link *netlink.Handle
}

// New makes a namespace with lo up. It skips the test unless it runs as root.
func New(t testing.TB) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := &Namespace{t: t}
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
	if n.Link, err = netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Link.Close)
	n.Up("lo")
	return n
}

func (n *Namespace) FD() int { return int(n.file.Fd()) }

// Do runs f on a thread inside the namespace.
func (n *Namespace) Do(f func() error) {
	n.t.Helper()
	n.thread(func() error {
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// thread runs f on a thread that ends with it, since it is in the wrong
// namespace afterwards.
func (n *Namespace) thread(f func() error) {
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

// Run runs a command inside the namespace and returns its output.
func (n *Namespace) Run(name string, args ...string) string {
	n.t.Helper()
	var out []byte
	n.Do(func() (err error) {
		if out, err = exec.Command(name, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
		}
		return nil
	})
	return string(out)
}

func (n *Namespace) NFT(args ...string) string {
	n.t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		n.t.Skip("needs nft to read back")
	}
	return n.Run("nft", args...)
}

func (n *Namespace) Sysctl(path, value string) {
	n.t.Helper()
	n.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
}

func (n *Namespace) Must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *Namespace) Up(name string) {
	n.t.Helper()
	l, err := n.Link.LinkByName(name)
	n.Must(err)
	n.Must(n.Link.LinkSetUp(l))
}

// Bridge makes a bridge with addresses, up and without snooping, so that it
// floods what it does not know.
func (n *Namespace) Bridge(name, mac string, addrs ...string) {
	n.t.Helper()
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, frames.MAC(mac)
	n.Must(n.Link.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}))
	n.Address(name, addrs...)
}

// Address gives addresses to a link and brings it up.
func (n *Namespace) Address(name string, addrs ...string) {
	n.t.Helper()
	n.Sysctl("net/ipv6/conf/"+name+"/accept_dad", "0")
	l, err := n.Link.LinkByName(name)
	n.Must(err)
	n.Must(n.Link.LinkSetUp(l))
	for _, s := range addrs {
		a, err := netlink.ParseAddr(s)
		n.Must(err)
		a.Flags |= unix.IFA_F_NODAD
		n.Must(n.Link.AddrAdd(l, a))
	}
}

// End is one end of a cable.
type End struct {
	In        *Namespace
	Name, MAC string
}

// Cable joins two namespaces by a veth pair.
func Cable(a, b End) {
	a.In.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = a.Name, frames.MAC(a.MAC)
	a.In.Must(a.In.Link.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: b.Name, PeerHardwareAddr: frames.MAC(b.MAC), PeerNamespace: netlink.NsFd(b.In.FD()),
	}))
}

// Enslave makes a link a port of a bridge, in an interface group, and up.
func (n *Namespace) Enslave(name, bridge string, group uint32) {
	n.t.Helper()
	l, err := n.Link.LinkByName(name)
	n.Must(err)
	br, err := n.Link.LinkByName(bridge)
	n.Must(err)
	n.Must(n.Link.LinkSetGroup(l, int(group)))
	n.Must(n.Link.LinkSetMaster(l, br))
	n.Must(n.Link.LinkSetUp(l))
}

// Fence puts a bridge's fence in place, as the engine does.
func (n *Namespace) Fence(row desired.Fence) {
	n.t.Helper()
	l, err := n.Link.LinkByName(row.Link)
	n.Must(err)
	n.Do(func() error {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			return err
		}
		defer c.Close()
		return fence.Put(c, l.Attrs().Index, row)
	})
}

// Port sets up a bridge's port as the engine sets up its own.
func (n *Namespace) Port(name string) {
	n.t.Helper()
	n.Do(func() error {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			return err
		}
		defer c.Close()
		return link.SetPort(c, name)
	})
}

func (n *Namespace) Neighbour(name, ip, mac string) {
	n.t.Helper()
	l, err := n.Link.LinkByName(name)
	n.Must(err)
	n.Must(n.Link.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.ParseIP(ip), HardwareAddr: frames.MAC(mac),
	}))
}
