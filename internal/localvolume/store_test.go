package localvolume

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root, filepath.Join(root, "run"), nil)
	must(t, err)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, s *Store) map[string]model.Volume {
	t.Helper()
	all, err := s.List()
	must(t, err)
	out := map[string]model.Volume{}
	for _, v := range all {
		out[v.Name] = v
	}
	return out
}

// TestMakeAndRemove: what was made is found again as it was, by whoever opens the folder.
func TestMakeAndRemove(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	asked := model.Volume{Name: "photos", Driver: "local", Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Labels: map[string]string{"a": "1"}}
	made, err := s.Make(asked)
	must(t, err)
	if made.Mountpoint != filepath.Join(root, "volumes/photos/_data") {
		t.Error(made.Mountpoint)
	}
	must(t, os.WriteFile(filepath.Join(made.Mountpoint, "sea"), []byte("sea"), 0o600))
	for path, want := range map[string]fs.FileMode{"volumes": 0o700, "volumes/photos": 0o701, "volumes/photos/_data": 0o755, "volumes/photos/volume.json": 0o600} {
		info, err := os.Stat(filepath.Join(root, path))
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
	if _, err := s.Make(asked); model.KindOf(err) != model.Conflict {
		t.Errorf("made twice: %v", err)
	}
	for _, s := range []*Store{s, open(t, root)} {
		got := list(t, s)["photos"]
		if got.Options != nil || !maps.Equal(got.Labels, asked.Labels) || !got.Created.Equal(asked.Created) || got.Mountpoint != made.Mountpoint {
			t.Errorf("found %+v", got)
		}
	}
	must(t, s.Remove("photos"))
	must(t, s.Remove("photos"))
	left, err := os.ReadDir(filepath.Join(root, "volumes"))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestHalvesGo: what a daemon was making or removing when it was killed goes with the
// next, and no volume with it.
func TestHalvesGo(t *testing.T) {
	root := t.TempDir()
	_, err := open(t, root).Make(model.Volume{Name: "whole", Driver: "local"})
	must(t, err)
	for _, half := range []string{".new-half/_data/sub", ".old-gone-1/_data/sub"} {
		must(t, os.MkdirAll(filepath.Join(root, "volumes", half), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "volumes/whole/volume.json.new"), []byte(`{"Dri`), 0o600))
	s := open(t, root)
	if got := list(t, s); len(got) != 1 || got["whole"].Name != "whole" {
		t.Errorf("volumes %v", got)
	}
	left, err := os.ReadDir(filepath.Join(root, "volumes"))
	must(t, err)
	if len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestDockersFolders: what Docker left is taken over with its options and labels, also if
// some of it cannot be read.
func TestDockersFolders(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "volumes")
	for _, name := range []string{"plain/_data", "linked/_data", "labelled/_data", "backing/other", "broken/_data"} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "linked/opts.json"), []byte(`{"MountType":"none","MountOpts":"bind","MountDevice":"/srv","Quota":{"Size":0}}`), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "broken/opts.json"), []byte(`{"MountType":`), 0o600))
	must(t, os.Symlink("plain", filepath.Join(dir, "alias")))
	db, err := bolt.Open(filepath.Join(dir, "metadata.db"), 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("volumes"))
		if err != nil {
			return err
		}
		return errors.Join(
			b.Put([]byte("labelled"), []byte(`{"Name":"labelled","Driver":"local","Labels":{"com.docker.volume.anonymous":""},"Options":null}`)),
			b.Put([]byte("removed"), []byte(`{"Name":"removed","Driver":"local"}`)))
	}))
	must(t, db.Close())
	for range 2 { // the second time from files of ours
		got := list(t, open(t, root))
		if len(got) != 3 {
			t.Fatalf("volumes %v", got)
		}
		if o := got["linked"].Options; !maps.Equal(o, map[string]string{"type": "none", "o": "bind", "device": "/srv"}) {
			t.Errorf("options %v", o)
		}
		if _, ok := got["labelled"].Labels[model.LabelAnonymous]; !ok {
			t.Errorf("labels %v", got["labelled"].Labels)
		}
		if v := got["plain"]; v.Driver != "local" || v.Options != nil || v.Created.IsZero() {
			t.Errorf("plain %+v", v)
		}
		_ = os.Remove(filepath.Join(dir, "metadata.db"))
	}
}

// TestPartsStayInTheVolume: no link leads a part out of the volume, and what is behind one
// that stays in it is found.
func TestPartsStayInTheVolume(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(base, "a/b"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "a/file"), nil, 0o600))
	for name, target := range map[string]string{"in": "a/b", "up": "../..", "abs": "/etc", "loop": "loop", "magic": "/proc/self/root"} {
		must(t, os.Symlink(target, filepath.Join(base, name)))
	}
	for sub, want := range map[string]any{"a": nil, "in": nil, "a/../a/b": nil, "a/file": nil, "up": model.Invalid, "abs": model.Invalid, "abs/passwd": model.Invalid,
		"magic": model.Invalid, "a/../../x": model.Invalid, "gone": model.NotFound, "a/file/x": model.NotFound, "loop": model.Internal} {
		fd, _, err := openPart(base, sub)
		if err == nil {
			unix.Close(fd)
		}
		if want == nil && err != nil || want != nil && (err == nil || model.KindOf(err) != want) {
			t.Errorf("%s: %v", sub, err)
		}
	}
}

func TestSize(t *testing.T) {
	s := open(t, t.TempDir())
	v, err := s.Make(model.Volume{Name: "vol", Driver: "local"})
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(v.Mountpoint, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(v.Mountpoint, "sub/a"), make([]byte, 5000), 0o600))
	must(t, os.Link(filepath.Join(v.Mountpoint, "sub/a"), filepath.Join(v.Mountpoint, "b")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(v.Mountpoint, "c")))
	if n, err := s.Size(t.Context(), "vol"); err != nil || n != 5000+int64(len("/etc/passwd")) {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Size(ctx, "vol"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestPasswordsAreNotSaid: the options of a network file system have one in them.
func TestPasswordsAreNotSaid(t *testing.T) {
	cause := errors.New("mount //x:/y, data: user=u,password=hunter2,vers=3: refused")
	err := unsaid(cause, "user=u,password=hunter2,vers=3")
	if strings.Contains(err.Error(), "hunter2") || !errors.Is(err, cause) {
		t.Error(err)
	}
}

// FuzzFiles: whatever stands in the files of a volume, ours or Docker's, is read or refused.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"Driver":"local","Created":"2026-01-02T03:04:05Z","Labels":{"a":"b"},"Options":null}`), []byte(`{"MountType":"none"}`))
	f.Add([]byte(`{"Labels":[]}`), []byte(`null`))
	f.Fuzz(func(t *testing.T, ours, dockers []byte) {
		root := t.TempDir()
		for _, name := range []string{"ours", "theirs"} {
			must(t, os.MkdirAll(filepath.Join(root, "volumes", name, "_data"), 0o755))
		}
		must(t, os.WriteFile(filepath.Join(root, "volumes/ours/volume.json"), ours, 0o600))
		must(t, os.WriteFile(filepath.Join(root, "volumes/theirs/opts.json"), dockers, 0o600))
		got := list(t, open(t, root))
		if _, ok := got["ours"]; ok != json.Valid(ours) && ok {
			t.Errorf("%q was taken", ours)
		}
	})
}
