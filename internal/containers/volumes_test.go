package containers

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/model"
)

// TestFoldersKeepUsersOut: CVE-2021-41091. No user of the host gets to what containers
// write, whatever mode the data root has, and whoever made the folders before.
func TestFoldersKeepUsersOut(t *testing.T) {
	for _, old := range []bool{false, true} {
		b := newBench(t)
		root := filepath.Join(b.root, "data")
		if old { // as releases before had them
			if err := os.MkdirAll(filepath.Join(root, "volumes", "shared", "_data"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(root, "volumes"), 0o711); err != nil {
				t.Fatal(err)
			}
			b.shut()
			b.open()
			foldersHave(t, root, map[string]fs.FileMode{"volumes": 0o700})
		}
		id := b.create("one", func(r *CreateRequest) { r.Host.Binds = []string{"shared:/v"} })
		foldersHave(t, root, map[string]fs.FileMode{
			"containers": 0o710, "containers/" + id: 0o710,
			"volumes": 0o700, "volumes/shared": 0o701, "volumes/shared/_data": 0o755,
		})
	}
}

// foldersHave compares the modes of all folders below root that a user of the host could
// come to with those wanted; what is in containers' folders is behind theirs.
func foldersHave(t *testing.T, root string, want map[string]fs.FileMode) {
	t.Helper()
	var seen []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode, known := want[name]
		if !known && len(want) > 1 {
			t.Errorf("%s is new: which mode must it have?", name)
		}
		if known && info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), mode)
		}
		seen = append(seen, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if !slices.Contains(seen, name) {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestVolumesAreFilled: which volumes take over what the image has.
func TestVolumesAreFilled(t *testing.T) {
	b := newBench(t)
	source := filepath.Join(b.root, "bound")
	b.run("one", func(r *CreateRequest) {
		r.Host.Binds = []string{"named:/named", "ro:/ro:ro", "left:/left:nocopy", source + ":/bound"}
		r.Host.Mounts = []mount.Mount{
			{Type: mount.TypeVolume, Source: "vm", Target: "/m"},
			{Type: mount.TypeVolume, Source: "vn", Target: "/n", VolumeOptions: &mount.VolumeOptions{NoCopy: true}},
		}
		r.Config.Volumes = map[string]struct{}{"/anon": {}}
	})
	id := b.run("two", func(r *CreateRequest) { r.Host.VolumesFrom = []string{"one"} })
	first := b.runtime.made[model.ContainerID(b.inspect("one").ID)]
	for _, m := range first.Mounts {
		if want := slices.Contains([]string{"/named", "/ro", "/m", "/anon"}, m.Target); m.CopyUp != want {
			t.Errorf("%s is filled: %v, want %v", m.Target, m.CopyUp, want)
		}
	}
	for _, m := range b.runtime.made[model.ContainerID(id)].Mounts {
		if m.CopyUp {
			t.Errorf("%s of another container is filled", m.Target)
		}
	}
}

// TestMountImage: the image is found when the container is made, and is in use from then on.
func TestMountImage(t *testing.T) {
	b := newBench(t)
	const image = "sha256:70015"
	id := b.create("one", func(r *CreateRequest) {
		r.Host.Mounts = []mount.Mount{{Type: mount.TypeImage, Source: "tools", Target: "/i/", ImageOptions: &mount.ImageOptions{Subpath: "bin"}}}
	})
	got := b.inspect(id).Mounts
	if len(got) != 1 || got[0].Type != mount.TypeImage || got[0].Name != "tools" || got[0].Source != image || got[0].Destination != "/i" || got[0].RW {
		t.Errorf("%+v", got)
	}
	if users := b.ImageUsers(image); len(users) != 1 {
		t.Errorf("users: %v", users)
	}
	for _, c := range []struct {
		text string
		m    mount.Mount
	}{
		{"No such image: gone:latest", mount.Mount{Type: mount.TypeImage, Source: "gone", Target: "/i"}},
		{"field Source must not be empty", mount.Mount{Type: mount.TypeImage, Target: "/i"}},
		{"subpath must be a relative path within the volume", mount.Mount{Type: mount.TypeImage, Source: "tools", Target: "/i", ImageOptions: &mount.ImageOptions{Subpath: "../x"}}},
		{"field VolumeOptions must not be specified", mount.Mount{Type: mount.TypeImage, Source: "tools", Target: "/i", VolumeOptions: &mount.VolumeOptions{}}},
	} {
		_, _, err := b.Create(t.Context(), request("two", func(r *CreateRequest) { r.Host.Mounts = []mount.Mount{c.m} }))
		if model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v", c.m, err)
		}
	}
}
