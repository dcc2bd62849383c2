package containers

import (
	"context"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Restart stops a container, if it runs, and starts it. A client that goes away
// before the end of it finds the container running all the same.
func (m *Manager) Restart(ctx context.Context, ref string, o StopOptions) error {
	b, err := m.find(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err = m.stopForRestart(ctx, b, o)
	if err == nil {
		err = m.Start(ctx, string(b.id))
	}
	if err != nil && model.KindOf(err) != model.NotModified {
		return model.Errorf(model.KindOf(err), "Cannot restart container %s: %w", ref, err)
	}
	m.say(b, events.ActionRestart)
	return nil
}

// stopForRestart keeps --rm from removing what is to be started again.
func (m *Manager) stopForRestart(ctx context.Context, b *entry, o StopOptions) error {
	keep := b.snapshot().Host
	if keep.AutoRemove {
		without := *keep
		without.AutoRemove = false
		if err := b.opLock.acquire(ctx); err != nil {
			return err
		}
		b.edit(func(r *record) { r.Host = &without })
		b.opLock.release()
		defer func() {
			b.opLock.acquireNow()
			b.edit(func(r *record) { r.Host = keep })
			b.opLock.release()
		}()
	}
	b.setReturning(true)
	defer b.setReturning(false)
	err := m.stop(ctx, b, o)
	if model.KindOf(err) == model.NotModified {
		return nil
	}
	return err
}

func (b *entry) setReturning(returning bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.returning = returning
}
