package files

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// stopped is the way into the files of a container that does not run: its layers, with what
// is mounted in them when it does.
type stopped struct {
	place string
	root  *os.File
	given []graft
}

// graft is a tree of mounts to be put at a place in the root.
type graft struct {
	tree   *os.File
	target string // absolute, cleaned, in the container
	folder bool
}

// openStopped mounts the layers of a container, and takes what is mounted in them.
func (s *Store) openStopped(ctx context.Context, v model.FileView) (_ *stopped, err error) {
	layers, err := s.layers(ctx, v.ID)
	if err != nil {
		return nil, err
	}
	out := &stopped{place: s.place}
	defer func() {
		if err != nil {
			out.close()
		}
	}()
	if out.root, err = treeOf(ctx, layers, false); err != nil {
		return nil, containerd.Faultf("files", containerd.Describe(v.ID), "mount the container's layers", err)
	}
	for _, m := range v.Mounts {
		if m.Type != "bind" {
			continue
		}
		if err := out.add(m); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out.given, func(a, b graft) int {
		return cmp.Compare(strings.Count(a.target, "/"), strings.Count(b.target, "/"))
	})
	return out, nil
}

// layers returns the mounts of a container's file system.
func (s *Store) layers(ctx context.Context, id model.ContainerID) ([]mount.Mount, error) {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	out, err := s.client.Snapshots().Mounts(ctx, string(id))
	return out, containerd.Fault("files", containerd.Describe(id), err)
}

// treeOf mounts layers and returns the mount, which nobody has a path to.
func treeOf(ctx context.Context, layers []mount.Mount, readOnly bool) (tree *os.File, err error) {
	take := func(root string) (err error) {
		if tree, err = cloneTree(root); err != nil {
			return err
		}
		return disarm(int(tree.Fd()), "", readOnly)
	}
	if readOnly {
		return tree, mount.WithReadonlyTempMount(ctx, layers, take)
	}
	return tree, mount.WithTempMount(ctx, layers, take)
}

// add takes what m mounts. A source that is gone hides nothing: the rest of the files can be
// had even so.
func (st *stopped) add(m model.Mount) error {
	tree, err := cloneTree(m.Source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return at("mount at "+m.Target, err)
	}
	st.given = append(st.given, graft{tree: tree, target: path.Clean("/" + m.Target)})
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	st.given[len(st.given)-1].folder = info.IsDir()
	return disarm(int(tree.Fd()), "", m.ReadOnly)
}

func (st *stopped) close() {
	if st.root != nil {
		st.root.Close() //nolint:errcheck // nothing was written through it
	}
	for _, g := range st.given {
		g.tree.Close() //nolint:errcheck // as above
	}
}

// enter implements entrance.
func (st *stopped) enter() error {
	if err := private(); err != nil {
		return err
	}
	place, err := os.Open(st.place)
	if err != nil {
		return err
	}
	defer place.Close()
	root := int(st.root.Fd())
	if err := moveTree(root, int(place.Fd())); err != nil {
		return err
	}
	for _, g := range st.given {
		if err := g.put(root); err != nil {
			return &os.PathError{Op: "mount", Path: g.target, Err: err}
		}
	}
	return changeRoot(root)
}

// put mounts a tree at its place below root, which is made if it is not there.
func (g graft) put(root int) error {
	target, err := ensure(root, g.target, g.folder)
	if err != nil {
		return err
	}
	defer unix.Close(target) //nolint:errcheck // nothing was written through it
	return moveTree(int(g.tree.Fd()), target)
}

// inRoot opens a path as a process sees it whose root is at.
func inRoot(at int, name string, flags uint64) (int, error) {
	return unix.Openat2(at, name, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// ensure opens a folder or file below root, making it and the folders above it as the OCI
// runtime does when the container starts.
func ensure(root int, target string, folder bool) (int, error) {
	fd, err := inRoot(root, target, unix.O_PATH)
	if !errors.Is(err, unix.ENOENT) || target == "/" {
		return fd, err
	}
	above, name := path.Split(target)
	dir, err := ensure(root, path.Clean(above), true)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir) //nolint:errcheck // nothing was written through it
	if folder {
		err = unix.Mkdirat(dir, name, 0o755)
	} else {
		err = unix.Mknodat(dir, name, unix.S_IFREG|0o755, 0)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return -1, err
	}
	return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// changeRoot makes a mount the root of the thread's mount namespace, the only one there is
// a way to.
func changeRoot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return at("fchdir", err)
	}
	err := unix.PivotRoot(".", ".")
	if errors.Is(err, unix.EINVAL) { // the daemon's own root is no mount: it was given one by chroot(2), or is an initramfs
		return at("chroot", unix.Chroot("."))
	}
	if err != nil {
		return at("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil { // the old one, on top
		return at("umount the host's root", err)
	}
	return at("chdir", unix.Chdir("/"))
}
