package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// sweepBundles removes the bundles that nothing stands for. A containerd that was
// killed while it made a task has left a bundle without the file that its own
// clean-up begins with ("open …/runtime: no such file or directory"); the
// container could never start again. Only a child's bundles are ours to remove.
//
// A task that the last daemon's containerd is still about would have a shim by
// the time of the first call.
func (st *staleTasks) sweepBundles(ctx context.Context) error {
	any, _ := st.client.Bundle("any")
	if any == "" {
		return nil
	}
	bundles := filepath.Dir(any)
	entries, err := os.ReadDir(bundles)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list bundles: %w", err)
	}
	inUse, err := st.inUse(ctx)
	if err != nil {
		return err
	}
	var lost []model.ContainerID
	for _, e := range entries {
		if id := model.ContainerID(e.Name()); !inUse[id] {
			lost = append(lost, id)
		}
	}
	return st.sweepAll(ctx, lost)
}

// inUse returns the containers that have a task or a shim.
func (st *staleTasks) inUse(ctx context.Context) (map[model.ContainerID]bool, error) {
	out := map[model.ContainerID]bool{}
	for _, s := range findShims(st.client.Namespace, st.client.Address) {
		out[s.container] = true
	}
	answer, err := st.client.Tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, containerd.Faultf("open", "", "list tasks", err)
	}
	for _, t := range answer.Tasks {
		out[model.ContainerID(t.ID)] = true
	}
	return out, nil
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
