package hostfilter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFindAsksWhatTheNameDoesNotSay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "iptables")
	tools := newTools(Options{Path: []string{dir}})
	try := func(script string, mode os.FileMode, want kind) {
		t.Helper()
		os.Remove(path)
		if script != "" {
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Time{}, time.Unix(int64(len(script)+int(want)), 0)); err != nil {
				t.Fatal(err)
			}
		}
		if _, got := tools.find(t.Context(), "iptables"); got != want {
			t.Errorf("%q: kind %d, want %d", script, got, want)
		}
	}
	try("", 0, absent)
	try("echo 'iptables v1.8.9 (nf_tables)'", 0o755, ofNFTables)
	try("echo 'iptables v1.8.9 (legacy)'", 0o755, ofXTables)
	try("echo 'iptables v1.6.1'", 0o755, ofXTables)
	try("echo 'iptables v1.8.9 (nf_tables)'", 0o644, absent) // nobody may run it
	try("exit 3", 0o755, absent)
	try("echo what?", 0o755, absent)
}

func TestRunBoundsWhatItReads(t *testing.T) {
	tools := newTools(Options{})
	if _, err := tools.run(t.Context(), "", "/bin/sh", "-c", "head -c 20000000 /dev/zero"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("twenty million bytes: %v", err)
	}
	_, err := tools.run(t.Context(), "", "/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
	if err == nil || len(err.Error()) > 2*maxComplaint {
		t.Errorf("a long complaint: %d bytes", len(err.Error()))
	}
	if out, err := tools.run(t.Context(), "in", "/bin/sh", "-c", "cat"); out != "in" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}
