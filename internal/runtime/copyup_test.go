package runtime

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/internal/model"
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

// TestVolumeTakesOver: an empty volume gets what the image has at its place, with owner
// and mode, and another keeps what it has.
func TestVolumeTakesOver(t *testing.T) {
	e := newEngine(t)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "secret"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := func(name string, mode int64) item {
		return item{Header: tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode, Uid: 1000, Gid: 1001}}
	}
	image := e.load(testArchive{tag: "album:latest", items: []item{
		dir("album", 0o1770), dir("album/sub", 0o755), file("album/sub/one", "one"), link("album/link", "/album/sub"),
		link("inside", "/album"), link("outside", host), link("magic", "/proc/self/root"), file("plain", "x"),
	}})
	for _, c := range []struct {
		target       string
		copy, filled bool
		before       string // in the volume
	}{
		{"/album", true, true, ""}, {"/album", true, false, "own"}, {"/album", false, false, ""},
		{"/inside", true, true, ""}, {"/outside", true, false, ""}, {"/magic", true, false, ""}, {"/new", true, false, ""},
	} {
		data := volumeOf(t)
		if c.before != "" {
			if err := os.WriteFile(filepath.Join(data, c.before), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		spec := e.spec("true")
		spec.Image = image.ID
		spec.Mounts = []model.Mount{{Type: "bind", Source: data, Target: c.target, CopyUp: c.copy}}
		if err := e.Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if err := e.Delete(t.Context(), spec.ID); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(data)
		if err != nil {
			t.Fatal(err)
		}
		entries, _ := os.ReadDir(data)
		names := []string{}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		owner := info.Sys().(*syscall.Stat_t)
		got, want := strings.Join(names, " "), c.before
		if c.filled {
			want = "link sub"
			text, err := os.ReadFile(filepath.Join(data, "sub", "one"))
			if string(text) != "one" || info.Mode() != os.ModeDir|os.ModeSticky|0o770 || owner.Uid != 1000 || owner.Gid != 1001 {
				t.Errorf("%s: %q %v, mode %v, owner %d:%d", c.target, text, err, info.Mode(), owner.Uid, owner.Gid)
			}
		} else if owner.Uid != 0 || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: the folder was changed: %v", c.target, info.Mode())
		}
		if got != want {
			t.Errorf("%s %+v: volume has %q, want %q", c.target, c, got, want)
		}
		if beside, _ := os.ReadDir(filepath.Dir(data)); len(beside) != 1 {
			t.Errorf("%s: left beside the data: %v", c.target, beside)
		}
	}
}
