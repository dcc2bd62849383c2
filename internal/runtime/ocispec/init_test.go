package ocispec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// program puts an executable file into a folder.
func program(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// static returns the header of an ELF program without segments: nothing
// interprets it.
func static() []byte {
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	header[16], header[18], header[20] = 2, 62, 1 // ET_EXEC, EM_X86_64, EV_CURRENT
	header[52], header[54], header[58] = 64, 56, 64
	return header
}

func TestFindInit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	for _, c := range []struct{ configured, names string }{{"", "docker-init"}, {"my-init", "my-init"}} {
		_, err := findInit(c.configured)
		if model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), `exec: "`+c.names+`": executable file not found in $PATH`) ||
			!strings.Contains(err.Error(), "install the package tini") {
			t.Errorf("nothing there, configured %q: %v", c.configured, err)
		}
	}
	if got, err := findInit("/opt/init"); err != nil || got != "/opt/init" {
		t.Errorf("an absolute path: %q, %v", got, err)
	}
	// A program with an interpreter would die in a container that has no libc.
	tini := program(t, dir, "tini", []byte("#!/bin/sh\n"))
	if _, err := findInit(""); err == nil || !strings.Contains(err.Error(), tini+" needs libraries that containers do not have") {
		t.Errorf("a dynamic tini: %v", err)
	}
	if got, err := findInit("tini"); err != nil || got != tini {
		t.Errorf("whoever names it means it: %q, %v", got, err)
	}
	for _, name := range []string{"tini", "tini-static", "docker-init"} {
		want := program(t, dir, name, static())
		if got, err := findInit(""); err != nil || got != want {
			t.Errorf("%q, %v, want %s: each is better than the one before", got, err, want)
		}
	}
}
