package files

import (
	"archive/tar"
	"cmp"
	"context"
	"io"
	"os"
	"path"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// before and now are where the two states of a container's files are in a view of both.
const before, now = "/before", "/now"

// whiteout begins the name of what a layer takes away (OCI image-spec, layer.md).
const whiteout = ".wh."

// WriteLayer writes what the container's own layer changes of those below as a layer of an
// image (OCI image-spec, layer.md), and returns how many files that is about. What is mounted
// in the container is not looked at. Errors after the first byte leave the layer incomplete.
func (s *Store) WriteLayer(ctx context.Context, id model.ContainerID, out io.Writer) (int, error) {
	changed := new(int) // written by a thread that may go on after an error
	err := s.WithLayers(ctx, id, func(ctx context.Context, lower, upper []mount.Mount) error {
		both, err := s.compared(ctx, lower, upper)
		if err != nil {
			return err
		}
		return s.run(ctx, id, both, func() error {
			list, err := archive.ChangesDirs(now, before)
			if err != nil {
				return err
			}
			*changed = len(list)
			return newArchiver(ctx, out).changes(list)
		})
	})
	if err != nil {
		return 0, containerd.Fault("commit", containerd.Describe(id), err)
	}
	return *changed, nil
}

// compared is a view of nothing but two states of files, both read-only.
func (s *Store) compared(ctx context.Context, lower, upper []mount.Mount) (_ *stopped, err error) {
	out := &stopped{place: s.place}
	defer func() {
		if err != nil {
			out.close()
		}
	}()
	if out.root, err = emptyTree(); err != nil {
		return nil, err
	}
	for _, state := range []struct {
		at     string
		layers []mount.Mount
	}{{before, lower}, {now, upper}} {
		tree, err := treeOf(ctx, state.layers, true)
		if err != nil {
			return nil, err
		}
		out.given = append(out.given, graft{tree: tree, target: state.at, folder: true})
	}
	return out, nil
}

// emptyTree returns an empty file system in memory, mounted nowhere.
func emptyTree() (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, at("fsopen", err)
	}
	defer unix.Close(fs) //nolint:errcheck // nothing was written through it
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, at("fsconfig", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, harmless)
	if err != nil {
		return nil, at("fsmount", err)
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// changes writes what was changed, a folder before what is in it.
func (a *archiver) changes(list []archive.Change) error {
	slices.SortFunc(list, func(x, y archive.Change) int { return cmp.Compare(x.Path, y.Path) })
	for _, c := range list {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		err := a.change(c)
		if err != nil && !vanished(err) {
			return err
		}
	}
	return a.out.Close()
}

// change writes one file, or that it is gone.
func (a *archiver) change(c archive.Change) error {
	name := c.Path[1:]
	if c.Kind != archive.ChangeDelete {
		return a.add(now+c.Path, name)
	}
	folder, base := path.Split(name)
	return a.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: folder + whiteout + base, Format: tar.FormatPAX})
}
