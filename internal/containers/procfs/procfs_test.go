package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/containers/ps"
)

// TestReadingIsBounded: processes decide how much there is to read, as by sharing arguments
// of some MB with many children.
func TestReadingIsBounded(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("stat", "cpu 1 2 3\nbtime 1700000000\n")
	write("meminfo", "MemTotal:       1024 kB\n")
	const bound = 64 << 10
	const processes = 2 * bound / procLimit
	for pid := 1; pid <= processes; pid++ {
		write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf("%d (name) S 7 42 42 34817 42 4194304 0 0 0 0 150 50 0 0 20 0 1 0 6000 4096 1 0", pid))
		write(fmt.Sprintf("%d/status", pid), "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t"+strings.Repeat("4294967294 ", 2000))
		write(fmt.Sprintf("%d/cmdline", pid), strings.Repeat("a\x00", 100_000))
	}
	table := Table{root: root, commands: bound, names: map[string]string{}}
	host, err := table.Host()
	must(t, err)
	if host.Memory != 1<<20 {
		t.Errorf("memory %d", host.Memory)
	}
	format, err := ps.Parse([]string{"-ef"})
	must(t, err)
	total, named := 0, 0
	for pid := 1; pid <= processes; pid++ {
		p, err := table.Process(pid)
		must(t, err)
		for _, text := range format.Row(p, host) {
			if total += len(text); len(text) > procLimit {
				t.Fatalf("a text of %d bytes", len(text))
			}
			if text == "[name]" {
				named++
			}
		}
		if p.EffectiveUser != "root" {
			t.Fatalf("user %q", p.EffectiveUser)
		}
	}
	if total > bound+processes*100 || named != processes/2 {
		t.Errorf("%d bytes, %d processes by name only", total, named)
	}
}

func TestParseProcess(t *testing.T) {
	boot := time.Date(2024, 5, 6, 7, 8, 0, 0, time.Local)
	line := "42 (a) b (c) S 7 42 42 34817 42 4194304 0 0 0 0 150 50 0 0 20 0 1 0 6000 0 0 0"
	p, err := parseProcess(line, boot)
	must(t, err)
	format, err := ps.Parse([]string{"-ef"})
	must(t, err)
	want := []string{"", "42", "7", "3", "07:09", "pts/1", "00:00:02", "[a) b (c]"}
	if got := format.Row(p, ps.Host{Now: boot.Add(2 * time.Minute)}); !slices.Equal(got, want) {
		t.Fatalf("row %q, want %q", got, want)
	}
	for _, bad := range []string{"", "42", "42 (x) S 1", ")("} {
		if _, err := parseProcess(bad, boot); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParseProcess(f *testing.F) {
	f.Add("42 (a) S 7 42 42 34817 42 4194304 0 0 0 0 150 50 0 0 20 0 1 0 6000 0 0 0")
	format, err := ps.Parse([]string{"-ef"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if p, err := parseProcess(line, time.Unix(0, 0)); err == nil && len(format.Row(p, ps.Host{Now: time.Unix(1, 0)})) != 8 {
			t.Fatalf("%q", line)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
