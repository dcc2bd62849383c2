package xtables

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// host is a folder that all commands of a host are in.
type host struct {
	*testing.T
	*Commands
	folder string
}

func newHost(t *testing.T, o Options) host {
	folder := t.TempDir()
	o.Folders = []string{folder}
	return host{t, New(o), folder}
}

// script makes a command. Two that are made with different texts are not of the same age.
func (h host) script(name, text string, mode os.FileMode) {
	h.Helper()
	path := filepath.Join(h.folder, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), mode); err != nil {
		h.Fatal(err)
	}
	if err := errors.Join(os.Chmod(path, mode), os.Chtimes(path, time.Time{}, time.Unix(int64(len(text)), 0))); err != nil {
		h.Fatal(err)
	}
}

// link has a name lead to another file of the folder.
func (h host) link(name, to string) {
	h.Helper()
	if err := os.Symlink(to, filepath.Join(h.folder, name)); err != nil {
		h.Fatal(err)
	}
}

// TestVariant: the name of the file says it, or the command is asked.
func TestVariant(t *testing.T) {
	h := newHost(t, Options{})
	for _, c := range []struct {
		text string
		mode os.FileMode
		want Variant
		says string
	}{
		{"echo 'iptables v1.8.9 (nf_tables)'", 0o755, NFT, ""},
		{"echo 'iptables v1.8.9  (legacy)'", 0o755, Legacy, ""},
		{"echo 'iptables v1.6.1'", 0o755, Legacy, ""},
		{"echo ' iptables v1.8.9 (nf_tables)'", 0o644, "", "no iptables command found: iptables"}, // nobody may run it
		{"exit 3", 0o755, "", "exit status 3"},
		{"echo not found >&2; exit 127", 0o755, "", "iptables: not found"},
		{"echo what?", 0o755, "", `it says "what?\n"`},
	} {
		h.script("iptables", c.text, c.mode)
		got, err := h.Variant(t.Context(), model.IPv4)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %q, %v", c.text, got, err)
		}
	}
	if _, err := h.Variant(t.Context(), model.IPv6); !errors.Is(err, ErrNoCommand) {
		t.Errorf("ip6tables, which is not there: %v", err)
	}
	h.script("xtables-nft-multi", "exit 3", 0o755)
	h.link("ip6tables", "xtables-nft-multi")
	if v, err := h.Variant(t.Context(), model.IPv6); v != NFT || err != nil {
		t.Errorf("by the file's name: %q, %v", v, err)
	}
}

// TestVariantIsAskedOnce: until there is another file.
func TestVariantIsAskedOnce(t *testing.T) {
	h := newHost(t, Options{})
	count := filepath.Join(h.folder, "count")
	ask := func(want string) {
		t.Helper()
		for range 3 {
			if _, err := h.Variant(t.Context(), model.IPv4); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(count); err != nil || string(got) != want {
			t.Errorf("asked %q, want %q: %v", got, want, err)
		}
	}
	h.script("iptables", "printf a >>"+count+"; echo 'iptables v1.8.9 (legacy)'", 0o755)
	ask("a")
	h.script("iptables", "printf b >>"+count+"; echo 'iptables v1.8.9 (nf_tables)'", 0o755)
	ask("ab")
}

// TestTool: which commands are taken for which variant.
func TestTool(t *testing.T) {
	h := newHost(t, Options{})
	h.script("iptables", "echo 'iptables v1.6.1'", 0o755)
	try := func(v Variant, save string) {
		t.Helper()
		tool, err := h.Tool(t.Context(), model.IPv4, v)
		switch {
		case save == "":
			if !errors.Is(err, ErrNoCommand) {
				t.Errorf("%q: %+v, %v", v, tool, err)
			}
		case err != nil || filepath.Base(tool.save) != save || filepath.Base(tool.restore) != strings.TrimSuffix(save, "save")+"restore":
			t.Errorf("%q: %+v, %v", v, tool, err)
		}
	}
	try("", "")
	h.script("iptables-save", "", 0o755)
	try("", "")
	h.script("iptables-restore", "", 0o755)
	try("", "iptables-save")
	try(Legacy, "iptables-save")
	try(NFT, "") // the plain one is not of that variant
	for _, name := range []string{"iptables-nft-save", "iptables-nft-restore", "iptables-legacy-save", "iptables-legacy-restore"} {
		h.script(name, "", 0o755)
	}
	try("", "iptables-legacy-save")
	try(NFT, "iptables-nft-save")
	h.script("iptables", "echo 'iptables v1.8.9 (nf_tables)'", 0o755)
	try("", "iptables-nft-save")
	try(Legacy, "iptables-legacy-save")
}

// TestRun: what is read of a command, and how long it may take, is bounded.
func TestRun(t *testing.T) {
	var started []int
	c := New(Options{MaxOutput: 1 << 20, Started: func(pid int) { started = append(started, pid) }})
	sh := func(input, script string) (string, error) { return c.run(t.Context(), input, "/bin/sh", "-c", script) }
	if out, err := sh("in", "cat; echo $LC_ALL"); out != "inC\n" || err != nil || len(started) != 1 {
		t.Errorf("%q, %v, %d processes", out, err, len(started))
	}
	if _, err := sh("", "head -c 2000000 /dev/zero"); !errors.Is(err, ErrTooLong) {
		t.Errorf("two million bytes: %v", err)
	}
	_, err := sh("", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1")
	if err == nil || len(err.Error()) > 2*maxComplaint {
		t.Errorf("a long complaint: %d bytes", len(err.Error()))
	}
	_, err = sh("", "echo '# Warning: there are others'>&2; echo ' line 3 failed '>&2; echo 'Try `sh -h`' >&2; exit 4")
	var failed *Failure
	if !errors.As(err, &failed) || failed.Text != "line 3 failed" || err.Error() != "sh: line 3 failed" {
		t.Errorf("%v", err)
	}
	if _, err = sh("", "exit 4"); err == nil || err.Error() != "sh: exit status 4" {
		t.Errorf("%v", err)
	}
	c = New(Options{Timeout: time.Millisecond})
	if _, err = sh("", "exec sleep 1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that hangs: %v", err)
	}
}

// TestRunStaysInItsNamespace: nothing is run but by Enter.
func TestRunStaysInItsNamespace(t *testing.T) {
	refused := errors.New("no such namespace")
	c := New(Options{Enter: func(func() error) error { return refused }})
	if _, err := c.run(t.Context(), "", "/bin/true"); !errors.Is(err, refused) {
		t.Error(err)
	}
}
