package containers

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// sweeper removes what is of containers that there are not.
type sweeper struct {
	*registry
	tasks   Tasks
	runtime Containers
	outputs Outputs
	dirs    containerfiles.Dirs
	log     *slog.Logger
}

// sweepContainer removes a container of the runtime that has no record: one
// whose creation or removal was cut short.
func (sw *sweeper) sweepContainer(ctx context.Context, t model.TaskStatus) {
	sw.log.Info("removing a container without a record", "container", model.Short(t.ID), "op", "container.restore")
	ctx, cancel := context.WithTimeout(ctx, halfTimeout)
	defer cancel()
	var err error
	if t.State != model.TaskNone {
		_, err = sw.tasks.DeleteTask(ctx, t.ID)
	}
	if err = errors.Join(err, sw.runtime.Delete(ctx, t.ID)); err != nil {
		sw.log.Error("container without a record stays", "container", model.Short(t.ID), "op", "container.restore", "err", err)
	}
}

// sweepSandboxes removes sandboxes of containers that are not: the kernel refused to
// let go of them when the container was removed.
func (sw *sweeper) sweepSandboxes(ctx context.Context) {
	s := sw.engine.Snapshot()
	for sb := range s.Sandboxes() {
		if _, ok := s.Container(sb.Container); ok || sb.Container == "" || sb.Guest != nil || sb.Ingress != "" {
			continue
		}
		sw.log.Info("removing a sandbox without a container", "container", model.Short(sb.Container), "op", "container.restore")
		if _, err := sw.engine.Do(ctx, ops.RemoveSandbox(sb.ID)); err != nil {
			sw.log.Error("sandbox without a container stays", "container", model.Short(sb.Container), "op", "container.restore", "err", err)
		}
	}
}

// sweepDirectories removes files of containers that are not. Only names that are
// IDs are ours.
func (sw *sweeper) sweepDirectories() {
	strangers := sw.dirs.Strangers(func(id model.ContainerID) bool { return sw.entries[id] != nil })
	for _, id := range strangers {
		if err := sw.dirs.Remove(id); err != nil {
			sw.log.Error("files without a container stay", "container", model.Short(id), "op", "container.restore", "err", err)
		}
	}
}

// keepOutputs closes what an earlier daemon had opened for containers that do not
// run any more.
func (sw *sweeper) keepOutputs(ctx context.Context, tasks map[model.ContainerID]model.TaskStatus) {
	var running []model.ContainerID
	for _, b := range sw.all() {
		state := tasks[b.id].State // may run though it is not taken over yet
		if b.current() != nil || state == model.TaskUnknown || state == model.TaskRunning || state == model.TaskPaused {
			running = append(running, b.id)
		}
	}
	slices.Sort(running)
	if err := sw.outputs.Keep(ctx, running); err != nil {
		sw.log.Warn("outputs not swept", "op", "container.restore", "err", err)
	}
}
