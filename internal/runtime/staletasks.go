package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

const (
	// shimEnds bounds the wait for shims that were told to end.
	shimEnds = 3 * time.Second
	// runcRoot is where the shim has runc keep the state of containers, by namespace.
	runcRoot = "/run/containerd/runc"
	// socketRoot is where shims have their sockets.
	socketRoot = "/run/containerd/s"
	// bundleGoes is how long containerd may take to remove the bundle of a task that
	// it has given up and whose shim has ended.
	bundleGoes = 2 * time.Second
)

// staleTasks removes what is left of a task that containerd has forgotten: its shim, runc's
// state, its bundle and its cgroups. A start that was cut short leaves them.
type staleTasks struct {
	client  *containerd.Client
	specs   storedSpecs
	cgroup2 bool
	locks   *taskLocks
	life    *life
	log     *slog.Logger
}

// clear removes what a task that containerd knows nothing of has left: its
// shim, runc's state, its bundle and its cgroups. The caller has the lock.
func (st *staleTasks) clear(ctx context.Context, id model.ContainerID) error {
	if err := st.endShims(id); err != nil {
		return err
	}
	_, s, err := st.specs.load(ctx, id)
	if err != nil && model.KindOf(err) != model.NotFound {
		return err
	}
	return errors.Join(st.clearRunc(ctx, id), st.clearBundle(id), st.clearSocket(id), st.removeCgroups(ctx, s))
}

// endShims ends the shims of a container, by force if they do not end when told.
func (st *staleTasks) endShims(id model.ContainerID) error {
	for _, s := range findShims(st.client.Namespace, st.client.Address) {
		if s.container != id {
			continue
		}
		if err := endShim(s); err != nil {
			return err
		}
	}
	return nil
}

func endShim(s shim) error {
	p, err := process.Follow(s.process)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		p.Signal(sig)
		select {
		case <-p.Done():
			return nil
		case <-time.After(shimEnds):
		}
	}
	return model.Errorf(model.Unavailable, "the shim of %s does not end: %w", containerd.Describe(s.container), os.ErrDeadlineExceeded)
}

// clearSocket removes the socket of a shim that did not live to do so. Its name is
// made of the address of its containerd, the namespace and the container.
func (st *staleTasks) clearSocket(id model.ContainerID) error {
	sum := sha256.Sum256([]byte(filepath.Join(st.client.Address, st.client.Namespace, string(id))))
	err := os.Remove(filepath.Join(socketRoot, hex.EncodeToString(sum[:])))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of a shim: %w", err)
	}
	return nil
}

// clearRunc has runc forget a container whose shim is no more, and kill what runs
// in it (runc-delete(8)).
func (st *staleTasks) clearRunc(ctx context.Context, id model.ContainerID) error {
	root := filepath.Join(runcRoot, st.client.Namespace)
	state := filepath.Join(root, string(id))
	if !exists(state) {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "runc", "--root", root, "delete", "--force", string(id)).CombinedOutput(); err != nil {
		st.log.Warn("runc delete", "container", model.Short(id), "op", "runtime.clear", "err", fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))))
	}
	return os.RemoveAll(state) // also a state without the file that runc would read
}

// clearBundle removes a bundle that no shim uses.
//
// A containerd whose client died while it made a task removes the bundle itself, by
// its path, as soon as the shim is gone. It must be given the time: else it would
// take the bundle of the next task, while that is made or, worse, when it runs.
func (st *staleTasks) clearBundle(id model.ContainerID) error {
	bundle, work := st.client.Bundle(id)
	if bundle == "" {
		return nil
	}
	for end := time.Now().Add(bundleGoes); st.mayRemove(bundle) && time.Now().Before(end); {
		time.Sleep(containerd.RetryFirst)
	}
	return errors.Join(removeBundle(bundle), os.RemoveAll(work))
}

// mayRemove tells whether containerd may remove a bundle yet: it is there, and the
// containerd that made it still runs.
func (st *staleTasks) mayRemove(bundle string) bool {
	made, err := os.Stat(bundle)
	return err == nil && st.client.MadeByThis(made)
}

// removeBundle removes a bundle. What is mounted in it is a container's own file
// system, which must be away before anything is deleted.
func removeBundle(path string) error {
	for {
		err := unix.Unmount(filepath.Join(path, "rootfs"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // not, or no longer, a mount point
			break
		}
		if err != nil {
			return fmt.Errorf("unmount the file system in bundle %s: %w", path, err)
		}
	}
	return os.RemoveAll(path)
}
