package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/linkspan/linkspan/internal/config"
)

// TestRootsKeepUsersOut: CVE-2021-41091. Folders that are there already get the modes too.
func TestRootsKeepUsersOut(t *testing.T) {
	for _, before := range []fs.FileMode{0, 0o711, 0o755, 0o777, 0o700} {
		dir := t.TempDir()
		c := config.Config{DataRoot: filepath.Join(dir, "a", "data"), ExecRoot: filepath.Join(dir, "exec")}
		if before != 0 {
			for _, root := range []string{c.DataRoot, c.ExecRoot} {
				if err := os.MkdirAll(root, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(root, before); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := makeRoots(c); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]fs.FileMode{c.DataRoot: 0o710, c.ExecRoot: 0o711} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("a folder with mode %o before: %s has mode %o, want %o", before, filepath.Base(path), got, want)
			}
		}
	}
}
