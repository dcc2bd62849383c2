package containers

import (
	"context"
	"fmt"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Pause freezes a container's processes.
func (m *Manager) Pause(ctx context.Context, ref string) error {
	b, err := m.acquire(ctx, ref)
	if err != nil {
		return err
	}
	defer b.opLock.release()
	switch s := b.snapshot().State; {
	case b.current() == nil && s.Restarting:
		return restarting(b.id)
	case b.current() == nil:
		return notRunning(b.id)
	case s.Paused:
		return model.Errorf(model.Conflict, "container %s is already paused", b.id)
	}
	ctx = context.WithoutCancel(ctx)
	if err := m.o.Control.Pause(ctx, b.id); err != nil {
		return fmt.Errorf("cannot pause container %s: %w", b.id, orEnded(b.id, err))
	}
	b.edit(func(r *record) { r.State.Paused = true })
	m.health.endHealth(b)
	m.records.SaveLogged(ctx, b.snapshot().plain(), "container.pause")
	m.say(b, events.ActionPause)
	return nil
}

// Unpause lets a paused container go on.
func (m *Manager) Unpause(ctx context.Context, ref string) error {
	b, err := m.acquire(ctx, ref)
	if err != nil {
		return err
	}
	defer b.opLock.release()
	if !b.snapshot().State.Paused {
		return model.Errorf(model.Conflict, "container %s is not paused", b.id)
	}
	return orEnded(b.id, m.resume(ctx, b))
}

// resume is Unpause with opLock held.
func (m *Manager) resume(ctx context.Context, b *entry) error {
	ctx = context.WithoutCancel(ctx)
	if err := m.o.Control.Resume(ctx, b.id); err != nil {
		return fmt.Errorf("cannot unpause container %s: %w", b.id, err)
	}
	b.edit(func(r *record) { r.State.Paused = false })
	m.health.goOnWithHealth(b)
	m.records.SaveLogged(ctx, b.snapshot().plain(), "container.unpause")
	m.say(b, events.ActionUnPause)
	return nil
}
