package sysctl_test

import (
	"errors"
	"io/fs"
	"os/exec"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/sysctl"
	"github.com/linkspan/linkspan/internal/model"
)

// open returns the tree of the calling thread's namespace.
func open(t *testing.T) *sysctl.Tree {
	t.Helper()
	var source sysctl.Source
	tree := source.Open()
	t.Cleanup(func() { source.Close(); tree.Close() })
	return tree
}

func TestPathsStayInside(t *testing.T) {
	tree := open(t)
	for _, path := range []string{
		"", "net", "net/ipv4", "kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "net/../kernel/hostname",
		"net/ipv4/../../kernel/hostname", "net//ipv4/ip_forward", "net/ipv4/ip_forward/", "net/ipv4/\x00",
	} {
		if _, err := tree.Put(path, "1"); model.KindOf(err) != model.Invalid {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestPut(t *testing.T) {
	kerneltest.New(t).Do(t, func() {
		tree := open(t)
		for _, c := range []struct {
			path, value string
			wrote       bool
		}{
			{"net/ipv4/ip_forward", "1", true},
			{"net/ipv4/ip_forward", "1", false},
			{"net/ipv4/ip_forward", " 0\n", true},
			{"net/ipv4/ip_local_port_range", "2000 3000", true},
			{"net/ipv4/ip_local_port_range", "2000  3000", false},
			{"net/ipv6/conf/all/forwarding", "1", true},
		} {
			if drift := tree.Drift(c.path, c.value); (drift != "") != c.wrote {
				t.Errorf("%s = %q: drift %q", c.path, c.value, drift)
			}
			if wrote, err := tree.Put(c.path, c.value); err != nil || wrote != c.wrote {
				t.Errorf("%s = %q: wrote %t, %v", c.path, c.value, wrote, err)
			}
		}
		if _, err := tree.Put("net/ipv4/conf/nowhere/forwarding", "1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing interface: %v", err)
		}
		if drift := tree.Drift("net/ipv4/conf/nowhere/forwarding", "1"); drift != "missing" {
			t.Errorf("a missing interface: drift %q", drift)
		}
		if _, err := tree.Put("net/ipv4/ip_forward", "many"); err == nil {
			t.Error("a value that is no number is accepted")
		}
		// A sysctl that can only be written has no value to compare.
		if wrote, err := tree.Put("net/ipv4/route/flush", "1"); err != nil || !wrote {
			t.Errorf("net/ipv4/route/flush: wrote %t, %v", wrote, err)
		}
	})
}

// A source goes on with a new mount after many trees, and a tree outlives the
// mount's turn and the source.
func TestSource(t *testing.T) {
	kerneltest.New(t).Do(t, func() {
		var source sysctl.Source
		first := source.Open()
		defer first.Close()
		for range 200 {
			tree := source.Open()
			if _, err := tree.Get("net/ipv4/ip_forward"); err != nil {
				t.Fatal(err)
			}
			tree.Close()
		}
		source.Close()
		if _, err := first.Put("net/ipv4/ip_forward", "1"); err != nil {
			t.Error(err)
		}
		again := source.Open()
		defer again.Close()
		if value, err := again.Get("net/ipv4/ip_forward"); err != nil || value != "1" {
			t.Errorf("ip_forward is %q, %v", value, err)
		}
		source.Close()
	})
}

// TestSmallMTU: below 1280 bytes an interface has no IPv6, and no settings for it.
func TestSmallMTU(t *testing.T) {
	kerneltest.New(t).Do(t, func() {
		tree := open(t)
		if out, err := exec.Command("ip", "link", "add", "small", "mtu", "1279", "type", "bridge").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
			return
		}
		for _, c := range []struct {
			path, value string
			fine        bool
		}{
			{"net/ipv6/conf/small/disable_ipv6", "1", true},
			{"net/ipv6/conf/small/accept_ra", "0", true},
			{"net/ipv6/conf/small/disable_ipv6", "0", false},
			{"net/ipv6/conf/nowhere/disable_ipv6", "1", false},
			{"net/ipv4/conf/small/nonsense", "1", false},
		} {
			if wrote, err := tree.Put(c.path, c.value); wrote || c.fine != (err == nil) {
				t.Errorf("%s = %s: wrote %t, %v", c.path, c.value, wrote, err)
			}
			if drift := tree.Drift(c.path, c.value); c.fine != (drift == "") {
				t.Errorf("%s = %s: drift %q", c.path, c.value, drift)
			}
		}
	})
}
