package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
)

// memoryDir is where the /dev/shm of containers is mounted that share it with others
// (`--ipc shareable`): a mount inside a container could not be bound from outside.
func memoryDir(execRoot string) string { return filepath.Join(execRoot, "shm") }

func memoryOf(execRoot string, id model.ContainerID) string {
	return filepath.Join(memoryDir(execRoot), string(id))
}

// shareMemory mounts a container's /dev/shm, of size bytes, in place of one that an
// earlier start has left.
func (r *Runtime) shareMemory(id model.ContainerID, size int64) error {
	if err := r.unshareMemory(id); err != nil {
		return err
	}
	path := memoryOf(r.opts.ExecRoot, id)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	err := unix.Mount("shm", path, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", size))
	if err != nil {
		return errors.Join(fmt.Errorf("mounting shm tmpfs: %w", err), r.unshareMemory(id))
	}
	return nil
}

// unshareMemory takes a container's /dev/shm away; those that have it keep it. One that
// is not there is no error.
func (r *Runtime) unshareMemory(id model.ContainerID) error {
	path := memoryOf(r.opts.ExecRoot, id)
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

// sweepMemory takes away the shared memory of all containers but the given ones.
func (r *Runtime) sweepMemory(owned map[string]bool) error {
	entries, err := os.ReadDir(memoryDir(r.opts.ExecRoot))
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("list shared memory: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !owned[e.Name()] {
			failed = append(failed, r.unshareMemory(model.ContainerID(e.Name())))
		}
	}
	return errors.Join(failed...)
}
