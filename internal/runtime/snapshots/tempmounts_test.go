package snapshots

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestViewsLeftOver: a daemon was killed while it looked into a file system, and
// another just before it mounted one.
func TestViewsLeftOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := t.TempDir()
	mounted, bare := filepath.Join(root, "views", "mounted"), filepath.Join(root, "views", "bare")
	for _, dir := range []string{mounted, bare} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", mounted, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) }) // gone already, if all is well
	if err := os.WriteFile(filepath.Join(mounted, "passwd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := PrepareTempMounts(root); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(root, "views")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
