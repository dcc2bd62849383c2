package localvolume

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// TestImport: volumes of another data root come with their data, and leave it as it is.
func TestImport(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	docker, s := t.TempDir(), open(t, t.TempDir())
	if _, err := s.Docker(docker); model.KindOf(err) != model.NotFound {
		t.Errorf("no data root: %v", err)
	}
	data := filepath.Join(docker, "volumes/photos/_data")
	must(t, os.MkdirAll(filepath.Join(data, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(data, "sub/sea"), []byte("sea"), 0o600))
	must(t, os.Symlink("/etc", filepath.Join(data, "away")))
	must(t, os.Chown(data, 1234, 2345))
	must(t, os.MkdirAll(filepath.Join(docker, "volumes/none"), 0o755))
	all, err := s.Docker(docker)
	must(t, err)
	if len(all) != 1 || all[0].Name != "photos" || all[0].Mountpoint != data {
		t.Fatalf("found %+v", all)
	}
	v, err := s.Copy(all[0])
	must(t, err)
	if text, err := os.ReadFile(filepath.Join(v.Mountpoint, "sub/sea")); err != nil || string(text) != "sea" || v.Mountpoint == data {
		t.Errorf("%s: %q, %v", v.Mountpoint, text, err)
	}
	if to, err := os.Readlink(filepath.Join(v.Mountpoint, "away")); err != nil || to != "/etc" {
		t.Errorf("link %q, %v", to, err)
	}
	if _, ok := list(t, s)["photos"]; !ok {
		t.Error("it is not found")
	}
	if _, err := s.Copy(all[0]); model.KindOf(err) != model.Conflict {
		t.Errorf("copied twice: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(docker, "volumes/photos")); err != nil || len(left) != 1 {
		t.Errorf("Docker's folder has %v, %v", left, err)
	}
}
