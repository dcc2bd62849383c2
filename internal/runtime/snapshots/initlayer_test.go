package snapshots

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFillInitLayer: whatever an image has in the way is replaced, inside.
func TestFillInitLayer(t *testing.T) {
	for name, prepare := range map[string]func(root, host string) error{
		"empty":     func(string, string) error { return nil },
		"dev":       func(root, host string) error { return os.Symlink(host, filepath.Join(root, "dev")) },
		"relative":  func(root, _ string) error { return os.Symlink("../host", filepath.Join(root, "dev")) },
		"file":      func(root, _ string) error { return os.WriteFile(filepath.Join(root, "dev"), nil, 0o600) },
		"etc":       func(root, host string) error { return os.Symlink(host, filepath.Join(root, "etc")) },
		"proc, sys": func(root, host string) error { return twoLinks(root, host, "proc", "sys") },
		"below": func(root, host string) error {
			return twoLinks(root, host, "dev/pts", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/shm", "dev/console", "etc/mtab", ".dockerenv")
		},
		"magic": func(root, _ string) error { return twoLinks(root, "/proc/self/fd/7", "etc/hostname", "dev/pts") },
		"own": func(root, _ string) error {
			if err := os.MkdirAll(filepath.Join(root, "etc"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("kept"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			root, host := filepath.Join(dir, "root"), filepath.Join(dir, "host")
			for _, d := range []string{root, host} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(host, "ptmx"), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := prepare(root, host); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it may be done over
				if err := fillInitLayer(root); err != nil {
					t.Fatal(err)
				}
			}
			if entries, err := os.ReadDir(host); err != nil || len(entries) != 1 {
				t.Errorf("the folder of the host has %v, %v", entries, err)
			}
			for _, e := range initEntries() {
				at := root
				for _, part := range strings.Split(e.path, "/") {
					at = filepath.Join(at, part)
					info, err := os.Lstat(at)
					if err != nil {
						t.Fatal(err)
					}
					if info.Mode()&os.ModeSymlink != 0 && e.target == "" {
						t.Errorf("%s is still a link", at)
					}
				}
				if target, err := os.Readlink(at); e.target != target || (err == nil) != (e.target != "") {
					t.Errorf("%s leads to %q, %v; want %q", at, target, err, e.target)
				}
			}
			if text, err := os.ReadFile(filepath.Join(root, "etc", "passwd")); name == "own" && string(text) != "kept" {
				t.Errorf("the image's own files: %q %v", text, err)
			}
		})
	}
}

// twoLinks makes links to target at each of paths.
func twoLinks(root, target string, paths ...string) error {
	for _, p := range paths {
		at := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, at); err != nil {
			return err
		}
	}
	return nil
}
