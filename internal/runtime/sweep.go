package runtime

import (
	"context"
	"errors"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sync/errgroup"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

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
	_, err := st.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if !containerd.IsNotFound(err) {
		return containerd.Fault("sweep", containerd.Describe(id), err)
	}
	st.log.Info("clearing away what is left of a task", "op", "runtime.sweep", "container", model.Short(id))
	return st.clear(ctx, id)
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
