package netns

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Delete removes a namespace in the background and returns at once: unmounting
// waits for the kernel's readers, and taking down what is inside takes the
// kernel tens of milliseconds. From now on Open and List do not know the name. A
// name that is not there is no error. The caller has seen that it is ours.
func (d *Dir) Delete(name string) error {
	if err := check(name); err != nil {
		return err
	}
	d.mu.Lock()
	_, already := d.leaving[name]
	if !already {
		d.leaving[name] = make(chan struct{})
	}
	d.mu.Unlock()
	if !already {
		d.removals <- name
	}
	return nil
}

func (d *Dir) isLeaving(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, leaving := d.leaving[name]
	return leaving
}

func (d *Dir) awaitRemoval(ctx context.Context, name string) error {
	d.mu.Lock()
	done := d.leaving[name]
	d.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removeLoop is the one remover: the kernel serialises unmounts anyway.
func (d *Dir) removeLoop() {
	for name := range d.removals {
		if err := errors.Join(d.remove(d.Path(name)), d.sayGoodbye(name)); err != nil {
			// The next resync finds the namespace by its mark and tries again.
			d.log.Warn("network namespace stays", "op", "netns.delete", "container", name, "err", err)
		}
		d.mu.Lock()
		close(d.leaving[name])
		delete(d.leaving, name)
		d.mu.Unlock()
	}
}

// remove unmounts lazily, since a container that is slow to die may still be
// inside: the namespace then lives, nameless, as long as its processes.
func (d *Dir) remove(path string) error {
	mounted, err := unmountAll(path)
	if err != nil {
		return err
	}
	// Releases before the mark left their files empty. What was mounted on one here
	// was ours, so the file is.
	if info, err := os.Lstat(path); mounted && err == nil && info.Mode() == huskMode && info.Size() == 0 {
		return gone(os.Remove(path))
	}
	return d.unlink(path)
}

// unmountAll takes namespaces off a name, more than one if someone mounted over it,
// and tells whether there was any.
func unmountAll(path string) (mounted bool, err error) {
	for isNamespace(path) {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return mounted, err
		}
		mounted = true
	}
	return mounted, nil
}
