package iptables

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// folderOf returns a folder with commands, as links to the real ones.
func folderOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(lookPath(t, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lookPath returns where a real one is.
func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// TestWithoutIPv6: without ip6tables IPv4 goes on, and it is said.
func TestWithoutIPv6(t *testing.T) {
	n := newNamespace(t, xtables.NFT)
	var said strings.Builder
	log := slog.New(slog.NewTextHandler(&said, nil))
	dir := folderOf(t, "iptables", "iptables-nft-save", "iptables-nft-restore")
	b, err := New(t.Context(), Options{Logger: log, Enter: n.enter, folders: []string{dir}})
	if err != nil || b.Variant() != xtables.NFT || !strings.Contains(said.String(), "level=WARN msg=\"no ip6tables: IPv6 is without a firewall\"") {
		t.Fatalf("%v: %s", err, &said)
	}
	defer b.Close()
	resync(t, b, sampleRows()...)
	if r := resync(t, b, sampleRows()...); r.Writes != 0 {
		t.Errorf("again: %+v", r)
	}
}

// TestWithoutCommands: no iptables, and one without the commands that go with it.
func TestWithoutCommands(t *testing.T) {
	for _, names := range [][]string{{}, {"iptables"}, {"iptables", "iptables-nft-save"}, {"ip6tables", "ip6tables-nft-save", "ip6tables-nft-restore"}} {
		if _, err := New(t.Context(), Options{folders: []string{folderOf(t, names...)}}); !errors.Is(err, xtables.ErrNoCommand) {
			t.Errorf("%v: %v", names, err)
		}
	}
}

// TestLineOf: where iptables-restore says that it failed.
func TestLineOf(t *testing.T) {
	for text, want := range map[string]int{
		"iptables-nft-restore: line 3 failed: No chain/target/match by that name.":                                        3,
		"iptables-restore: line 12 failed":                                                                                12,
		"iptables-restore v1.8.9 (legacy): Couldn't load target `X':No such file or directory; Error occurred at line: 4": 4,
		"iptables-nft-restore v1.8.9 (nf_tables): ; line 7: RULE_APPEND failed (Invalid argument): rule in chain FOO":     7,
		"Another app is currently holding the xtables lock.":                                                              0, "": 0, "line 99999999999": 999999999, // no script is as long
	} {
		if got := lineOf(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
