package files

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// enter prepares the way into a container's files.
func (s *Store) enter(ctx context.Context, v model.FileView) (entrance, error) {
	if v.Pid != 0 {
		return openRunning(v.ID, v.Pid)
	}
	return s.openStopped(ctx, v)
}

// private gives the calling thread a mount namespace of its own, a copy of the one it is
// in: no mount made in it is seen elsewhere.
func private() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return at("unshare", err)
	}
	return at("make mounts private", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// harmless is how file systems are mounted that are not the daemon's: a device node that a
// container made opens nothing.
const harmless = unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC

// disarm makes a tree of mounts harmless and, if asked to, read-only.
func disarm(dir int, path string, readOnly bool) error {
	attr := unix.MountAttr{Attr_set: harmless}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	flags := uint(unix.AT_RECURSIVE)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return at("mount_setattr", ignoringInterrupts(func() error { return unix.MountSetattr(dir, path, flags, &attr) }))
}

// cloneTree returns a copy, which is mounted nowhere, of the mounts at path and below.
func cloneTree(path string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// moveTree mounts a tree on what target is open at.
func moveTree(tree, target int) error {
	return at("move_mount", unix.MoveMount(tree, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}
