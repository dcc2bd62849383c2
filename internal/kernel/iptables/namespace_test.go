package iptables

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// namespace is a network namespace of its own that dies with the test.
type namespace struct {
	t       testing.TB
	file    *os.File
	variant xtables.Variant
}

// inBoth runs a test with each variant of iptables.
func inBoth(t *testing.T, test func(t *testing.T, n *namespace)) {
	for _, v := range xtables.Variants() {
		t.Run(string(v), func(t *testing.T) { test(t, newNamespace(t, v)) })
	}
}

func newNamespace(t testing.TB, v xtables.Variant) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := toolOf(t.Context(), xtables.New(xtables.Options{}), four, v); err != nil {
		t.Skip(err)
	}
	n := &namespace{t: t, variant: v}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.file.Close() })
	return n
}

// onThread runs f on a thread that ends with it, since it is in another namespace
// afterwards.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		done <- f()
	}()
	return <-done
}

// enter calls a function inside the namespace.
func (n *namespace) enter(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (n *namespace) do(cmd *exec.Cmd) error { return n.enter(cmd.Run) }

// run runs a command line and returns its output.
func (n *namespace) run(line string) string {
	n.t.Helper()
	var out strings.Builder
	cmd := exec.Command("sh", "-ec", line)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.do(cmd); err != nil {
		n.t.Fatalf("%s: %v: %s", line, err, out.String())
	}
	return out.String()
}

// variantOf has commands be those of the namespace's variant: "iptables", "ip6tables",
// at the beginning of a line or behind a semicolon.
func (n *namespace) iptables(line string) string {
	n.t.Helper()
	var parts []string
	for _, p := range strings.Split(line, ";") {
		p = strings.TrimSpace(p)
		for _, name := range []string{"iptables", "ip6tables"} {
			if rest, ok := strings.CutPrefix(p, name+" "); ok {
				p = name + n.variant.Infix() + " " + rest
			} else if rest, ok := strings.CutPrefix(p, name+"-save"); ok {
				p = name + n.variant.Infix() + "-save" + rest
			}
		}
		parts = append(parts, p)
	}
	return n.run(strings.Join(parts, "; "))
}

// saved is both families' rules, in a form that does not depend on order within a class:
// as they stand.
func (n *namespace) saved() string {
	n.t.Helper()
	var out []string
	for _, line := range strings.Split(n.iptables("iptables-save; ip6tables-save"), "\n") {
		if !strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return strings.Join(out, "\n")
}

// open makes a backend of the namespace's variant.
func (n *namespace) open(o Options) *Backend {
	n.t.Helper()
	o.Enter, o.variant = n.enter, n.variant
	if o.Beside == nil {
		beside, err := nft.New(nft.Options{Instance: "test", NetNS: int(n.file.Fd()), Beside: true})
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { beside.Close() })
		o.Beside = beside
	}
	b, err := New(n.t.Context(), o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { b.Close() })
	return b
}

func resync(t testing.TB, b *Backend, rows ...desired.Row) desired.Report {
	t.Helper()
	r, err := b.Resync(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func apply(t testing.TB, b *Backend, deltas ...desired.Delta) {
	t.Helper()
	if err := b.Apply(t.Context(), deltas); err != nil {
		t.Fatal(err)
	}
}

func added(rows ...desired.Row) (out []desired.Delta) {
	for i, r := range rows {
		out = append(out, desired.Delta{Owner: desired.Owner(fmt.Sprintf("test/%d", i)), New: r})
	}
	return out
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func address(s string) netip.Addr  { return netip.MustParseAddr(s) }

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, address(s))
	}
	return out
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; UPDATE=1 writes it anew. Now:\n%s", path, got)
	}
}
