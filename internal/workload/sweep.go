package workload

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// sweepContainer removes a container of the runtime that has no record: one
// whose creation or removal was cut short.
func (m *Manager) sweepContainer(ctx context.Context, t model.TaskStatus) {
	m.log.Info("removing a container without a record", "container", model.Short(t.ID), "op", "container.restore")
	ctx, cancel := context.WithTimeout(ctx, halfTimeout)
	defer cancel()
	var err error
	if t.State != model.TaskNone {
		_, err = m.o.Tasks.DeleteTask(ctx, t.ID)
	}
	if err = errors.Join(err, m.o.Containers.Delete(ctx, t.ID)); err != nil {
		m.log.Error("container without a record stays", "container", model.Short(t.ID), "op", "container.restore", "err", err)
	}
}

// sweepSandboxes removes sandboxes of containers that are not: the kernel refused to
// let go of them when the container was removed.
func (m *Manager) sweepSandboxes(ctx context.Context) {
	s := m.o.Engine.Snapshot()
	for sb := range s.Sandboxes() {
		if _, ok := s.Container(sb.Container); ok || sb.Container == "" {
			continue
		}
		m.log.Info("removing a sandbox without a container", "container", model.Short(sb.Container), "op", "container.restore")
		if _, err := m.o.Engine.Do(ctx, ops.RemoveSandbox(sb.ID)); err != nil {
			m.log.Error("sandbox without a container stays", "container", model.Short(sb.Container), "op", "container.restore", "err", err)
		}
	}
}

// sweepDirectories removes files of containers that are not. Only names that are
// IDs are ours.
func (m *Manager) sweepDirectories() {
	strangers := m.dirs.Strangers(func(id model.ContainerID) bool { return m.boxes[id] != nil })
	for _, id := range strangers {
		if err := m.dirs.Remove(id); err != nil {
			m.log.Error("files without a container stay", "container", model.Short(id), "op", "container.restore", "err", err)
		}
	}
}
