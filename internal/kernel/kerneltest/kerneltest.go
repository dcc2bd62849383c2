// Package kerneltest gives tests a network namespace to call the host's, and
// holds the conformance test that the kernel and its fake both pass.
//
// It must never be imported outside tests, and what it makes is gone when the
// test ends.
package kerneltest

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/netns"
)

// Host is a network namespace of a test's own, with a directory for the named
// namespaces below it.
type Host struct {
	Netns string // file of the namespace: a bind mount
	Dir   string // directory for named namespaces
}

// New makes a host with its loopback interface up, and an interface that nothing depends
// on: Uplink. It skips the test unless it runs as root.
func New(t testing.TB) Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	base := t.TempDir()
	h := Host{Netns: filepath.Join(base, "host"), Dir: filepath.Join(base, "netns")}
	if err := os.Mkdir(h.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// As /run is: a file made on a disk waits for what others have it write.
	if err := unix.Mount("tmpfs", h.Dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.clean(t) })
	if err := os.WriteFile(h.Netns, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err == nil {
			err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: Uplink}, PeerName: "switch"})
		}
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", h.Netns, "none", unix.MS_BIND, "")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	return h
}

// loopbackUp brings lo up in the namespace of the thread (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// clean unmounts everything, so that the temporary directory can be removed.
func (h Host) clean(t testing.TB) {
	entries, err := os.ReadDir(h.Dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		unmount(filepath.Join(h.Dir, e.Name()))
	}
	unmount(h.Dir)
	unmount(h.Netns)
}

// unmount takes off everything that is mounted on path.
func unmount(path string) {
	for unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
}

// Namespaces opens the directory of named namespaces until the test ends.
func (h Host) Namespaces(t testing.TB) *netns.Dir {
	t.Helper()
	file, err := os.Open(h.Netns)
	if err != nil {
		t.Fatal(err)
	}
	d := netns.New(netns.Options{Dir: h.Dir, Host: file, Instance: "test", Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		d.Close()
		file.Close()
	})
	return d
}

// Do runs f on a thread inside the namespace. f must not end the test.
func (h Host) Do(t testing.TB, f func()) {
	t.Helper()
	file, err := os.Open(h.Netns)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := netns.New(netns.Options{Dir: h.Dir, Host: file, Instance: "test", Logger: slog.New(slog.DiscardHandler)})
	defer d.Close()
	if err := d.Do(t.Context(), "", func() error { f(); return nil }); err != nil {
		t.Fatalf("enter the test's network namespace: %v", err)
	}
}
