package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/process"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

const (
	// runcRoot is where the shim has runc keep the state of containers, by namespace.
	runcRoot = "/run/containerd/runc"
	// socketRoot is where shims have their sockets.
	socketRoot = "/run/containerd/s"
	// bundleGoes is how long containerd may take to remove the bundle of a task that
	// it has given up and whose shim has ended.
	bundleGoes = 2 * time.Second
)

// clearTheWay removes a task that does not run, or what is left of one that
// containerd has forgotten. Conflict if it runs. The caller has the claim.
func (r *Runtime) clearTheWay(ctx context.Context, id model.ContainerID) error {
	answer, err := r.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if containerd.IsNotFound(err) {
		return r.clearRemains(ctx, id)
	}
	if err != nil {
		return containerd.Fault("start", containerd.Describe(id), err)
	}
	if s := answer.Process.Status; s != tasktypes.Status_CREATED && s != tasktypes.Status_STOPPED {
		return model.Errorf(model.Conflict, "%s has a process already", containerd.Describe(id))
	}
	_, err = r.deleteTask(ctx, id)
	return err
}

// clearRemains removes what a task that containerd knows nothing of has left: its
// shim, runc's state, its bundle and its cgroups. The caller has the claim.
func (r *Runtime) clearRemains(ctx context.Context, id model.ContainerID) error {
	if err := r.endShims(id); err != nil {
		return err
	}
	_, s, err := r.loadSpec(ctx, id)
	if err != nil && model.KindOf(err) != model.NotFound {
		return err
	}
	return errors.Join(r.clearRunc(ctx, id), r.clearBundle(id), r.clearSocket(id), r.removeCgroups(ctx, s))
}

// endShims ends the shims of a container, by force if they do not end when told.
func (r *Runtime) endShims(id model.ContainerID) error {
	for _, s := range findShims(r.client.Namespace, r.client.Address) {
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
func (r *Runtime) clearSocket(id model.ContainerID) error {
	sum := sha256.Sum256([]byte(filepath.Join(r.client.Address, r.client.Namespace, string(id))))
	err := os.Remove(filepath.Join(socketRoot, hex.EncodeToString(sum[:])))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of a shim: %w", err)
	}
	return nil
}

// clearRunc has runc forget a container whose shim is no more, and kill what runs
// in it (runc-delete(8)).
func (r *Runtime) clearRunc(ctx context.Context, id model.ContainerID) error {
	root := filepath.Join(runcRoot, r.client.Namespace)
	state := filepath.Join(root, string(id))
	if !exists(state) {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "runc", "--root", root, "delete", "--force", string(id)).CombinedOutput(); err != nil {
		r.log.Warn("runc delete", "container", model.Short(id), "op", "runtime.clear", "err", fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out))))
	}
	return os.RemoveAll(state) // also a state without the file that runc would read
}

// clearBundle removes a bundle that no shim uses.
//
// A containerd whose client died while it made a task removes the bundle itself, by
// its path, as soon as the shim is gone. It must be given the time: else it would
// take the bundle of the next task, while that is made or, worse, when it runs.
func (r *Runtime) clearBundle(id model.ContainerID) error {
	bundle, work := r.client.Bundle(id)
	if bundle == "" {
		return nil
	}
	for end := time.Now().Add(bundleGoes); r.mayRemove(bundle) && time.Now().Before(end); {
		time.Sleep(containerd.RetryFirst)
	}
	return errors.Join(removeBundle(bundle), os.RemoveAll(work))
}

// mayRemove tells whether containerd may remove a bundle yet: it is there, and the
// containerd that made it still runs.
func (r *Runtime) mayRemove(bundle string) bool {
	made, err := os.Stat(bundle)
	return err == nil && r.client.MadeByThis(made)
}
