package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// sharedMemory mounts the /dev/shm of containers that share it with others (`--ipc
// shareable`): a mount inside a container could not be bound from outside.
type sharedMemory struct {
	root string // of the mounts
}

// dir is where that of a container is mounted: see ocispec.Host.ShmDir.
func (m sharedMemory) dir(id model.ContainerID) string { return filepath.Join(m.root, string(id)) }

// share mounts a container's /dev/shm, of size bytes, in place of one that an
// earlier start has left.
func (m sharedMemory) share(id model.ContainerID, size int64) error {
	if err := m.unshare(id); err != nil {
		return err
	}
	path := m.dir(id)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	err := unix.Mount("shm", path, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", size))
	if err != nil {
		return errors.Join(fmt.Errorf("mounting shm tmpfs: %w", err), m.unshare(id))
	}
	return nil
}

// unshare takes a container's /dev/shm away; those that have it keep it. One that
// is not there is no error.
func (m sharedMemory) unshare(id model.ContainerID) error {
	path := m.dir(id)
	if !exists(path) {
		return nil
	}
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount shared memory: %w", err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) { // never what is in it
		return fmt.Errorf("remove shared memory: %w", err)
	}
	return nil
}

// sweep takes away the shared memory of all containers but the given ones.
func (m sharedMemory) sweep(owned map[string]bool) error {
	entries, err := os.ReadDir(m.root)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("list shared memory: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !owned[e.Name()] {
			failed = append(failed, m.unshare(model.ContainerID(e.Name())))
		}
	}
	return errors.Join(failed...)
}
