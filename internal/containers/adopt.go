package containers

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// adopt takes over a live process: its output is read on, its end is awaited. False
// without an error if the process was never started.
func (m *Manager) adopt(ctx context.Context, b *entry, t model.TaskStatus) (bool, error) {
	task, err := m.o.Tasks.Reattach(ctx, b.id)
	if err != nil || !task.Started {
		return false, err
	}
	if err := m.outputs.readOn(ctx, b, task); err != nil {
		return false, err
	}
	r := newRun(b, task.Stdin)
	exits, err := m.o.Tasks.Wait(m.closed, b.id)
	if err != nil {
		r.close()
		return false, err
	}
	b.mu.Lock()
	b.run = r
	s := &b.rec.State
	started := s.StartedAt
	if !s.Running || started.IsZero() { // the daemon ended between start and record
		started = time.Now().UTC()
	}
	paused := t.State == model.TaskPaused || t.State == model.TaskUnknown && s.Paused
	changed := !s.Running || s.Pid != task.Pid || s.Paused != paused
	*s = progress{Running: true, Paused: paused, Pid: task.Pid, StartedAt: started, FinishedAt: s.FinishedAt}
	b.mu.Unlock()
	m.health.beginHealth(b)
	if changed {
		m.records.SaveLogged(ctx, b.snapshot().plain(), "container.restore")
	}
	if id := b.snapshot().Sandbox; id != "" {
		if sb, ok := m.o.Engine.Snapshot().Sandbox(id); ok && !sb.Up {
			m.log.Warn("a running container has no network", "container", model.Short(b.id), "op", "container.restore")
		}
	}
	m.files.CatchUp(ctx, b)
	m.work.Go(func() { m.watch(b, r, exits) })
	return true, nil
}

// readOn has the output of a process read that was there before the daemon.
func (out *outputs) readOn(ctx context.Context, b *entry, task *model.Task) error {
	if err := out.openOutput(ctx, b, task.Pipes, true); err != nil {
		return err
	}
	return out.reader.Begun(ctx, b.id)
}
