package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sync/errgroup"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// sweepsAtOnce is for how many containers what is left of a task may be cleared away at the
// same time.
const sweepsAtOnce = 16

// shimSweeps are the pauses before the sweeps that follow the one of Open: what
// containerd was about when the last daemon died may bring forth a shim yet.
func shimSweeps() []time.Duration {
	return []time.Duration{time.Second, 5 * time.Second, 15 * time.Second}
}

// sweepShims ends the shims that hold nothing. When its client dies while
// containerd makes a task, containerd gives the task up, but its shim, and often
// the shim's bundle, stays for good (containerd's issues 6860 and 7496). A shim
// that is told to end takes its bundle and its socket with it.
//
// Tasks that are just being made are left alone: their shim is there before
// containerd lists them.
func (st *staleTasks) sweepShims(ctx context.Context) error {
	shims := findShims(st.client.Namespace, st.client.Address)
	if len(shims) == 0 {
		return nil
	}
	answer, err := st.client.Tasks().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return containerd.Faultf("open", "", "list tasks", err)
	}
	held := make(map[model.ContainerID]bool, len(answer.Tasks))
	for _, t := range answer.Tasks {
		held[model.ContainerID(t.ID)] = true
	}
	var lost []model.ContainerID
	for _, s := range shims {
		if !held[s.container] {
			lost = append(lost, s.container)
		}
	}
	return st.sweepAll(ctx, lost)
}

// sweepAll sweeps for several containers at the same time: it is mostly waiting.
func (st *staleTasks) sweepAll(ctx context.Context, ids []model.ContainerID) error {
	var all errgroup.Group
	all.SetLimit(sweepsAtOnce)
	failed := make([]error, len(ids))
	for i, id := range ids {
		all.Go(func() error {
			failed[i] = st.sweep(ctx, id)
			return nil
		})
	}
	return errors.Join(append(failed, all.Wait())...)
}

// sweep clears away what is left of a container's task, unless there is one after
// all, or one is being made.
func (st *staleTasks) sweep(ctx context.Context, id model.ContainerID) error {
	release, ok := st.locks.try(id)
	if !ok {
		return nil
	}
	defer release()
	if step, err := st.isStep(ctx, id); step || err != nil {
		return err
	}
	_, err := st.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if !containerd.IsNotFound(err) {
		return containerd.Fault("sweep", containerd.Describe(id), err)
	}
	st.log.Info("clearing away what is left of a task", "op", "runtime.sweep", "container", model.Short(id))
	return st.clear(ctx, id)
}

// labelBuild is on the containers of build steps, which the builder makes and ends.
const labelBuild = "linkspan/build"

// isStep tells whether a container is a step of a build: its task may be about to be made, by
// another process, whose locks are not ours.
func (st *staleTasks) isStep(ctx context.Context, id model.ContainerID) (bool, error) {
	rec, err := st.client.ContainerService().Get(ctx, string(id))
	if err != nil && !containerd.IsNotFound(err) {
		return false, containerd.Fault("sweep", containerd.Describe(id), err)
	}
	return err == nil && rec.Labels[labelBuild] != "", nil
}

// sweepLater sweeps again and again for a while, and once more so when containerd
// was started again: what it was about when it died has no other end.
func (st *staleTasks) sweepLater() {
	life, end := context.WithCancel(context.Background())
	defer end()
	go func() { // a sweep may be waiting for containerd when the runtime is closed
		<-st.life.done
		end()
	}()
	for pauses := shimSweeps(); ; {
		var next <-chan time.Time
		if len(pauses) > 0 {
			next = time.After(pauses[0])
		}
		select {
		case <-st.life.done:
			return
		case <-st.client.Restarted():
			pauses = shimSweeps()
			continue
		case <-next:
			pauses = pauses[1:]
		}
		ctx, cancel := st.client.Call(life)
		if err := errors.Join(st.sweepShims(ctx), st.sweepBundles(ctx)); err != nil && ctx.Err() == nil {
			st.log.Warn("shims or bundles not swept", "op", "runtime.sweep", "err", err)
		}
		cancel()
	}
}

// sweepBundles removes the bundles that nothing stands for. A containerd that was
// killed while it made a task has left a bundle without the file that its own
// clean-up begins with ("open …/runtime: no such file or directory"); the
// container could never start again. Only a child's bundles are ours to remove.
//
// A task that the last daemon's containerd is still about would have a shim by
// the time of the first call.
func (st *staleTasks) sweepBundles(ctx context.Context) error {
	one, _ := st.client.Bundle("any")
	if one == "" {
		return nil
	}
	bundles := filepath.Dir(one)
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
