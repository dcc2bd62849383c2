package snapshots

import (
	"os"
	"path/filepath"
	"testing"
)

// volumeOf makes the folders of a volume and returns that of its data.
func volumeOf(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "v", "_data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTakeOverFollowsNoLink: a container that has the volume already, and puts links
// into it while it is filled, leads nothing out.
func TestTakeOverFollowsNoLink(t *testing.T) {
	data, host := volumeOf(t), t.TempDir()
	staging := filepath.Join(filepath.Dir(data), filling)
	if err := os.MkdirAll(filepath.Join(staging, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(staging, "sub", "passwd"), []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(host, filepath.Join(data, "sub")); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := takeOver(folder, staging); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(host); err != nil || len(entries) != 0 {
		t.Errorf("the host's folder has %v, %v", entries, err)
	}
	if target, err := os.Readlink(filepath.Join(data, "sub")); err != nil || target != host {
		t.Errorf("the container's own link: %q, %v", target, err)
	}
}
