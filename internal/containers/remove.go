package containers

import (
	"context"
	"errors"
	"fmt"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/mounts"
	"github.com/linkspan/linkspan/internal/containers/removal"
	"github.com/linkspan/linkspan/internal/model"
)

// Remove removes a container. One that runs is refused (Conflict) unless Force.
func (m *Manager) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	b, err := m.find(ref)
	if err != nil {
		return err
	}
	if o.Force {
		ctx = context.WithoutCancel(ctx) // what is killed is removed too
		if err := m.endForRemoval(ctx, b); err != nil {
			return err
		}
	}
	if err := b.opLock.acquire(ctx); err != nil {
		return err
	}
	defer b.opLock.release()
	if b.isGone() {
		if o.Force { // by --rm, which was quicker
			return nil
		}
		return model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	if rec := b.snapshot(); rec.State.Running {
		return model.Errorf(model.Conflict, "cannot remove container %q: container is %s: stop the container before removing or force remove",
			"/"+rec.Name, rec.status())
	}
	return m.remove(context.WithoutCancel(ctx), b, o)
}

// endForRemoval kills what runs, and sees to it that nothing runs again.
func (m *Manager) endForRemoval(ctx context.Context, b *entry) error {
	r, err := m.beginStop(ctx, b, true)
	if err != nil && model.KindOf(err) != model.NotModified {
		return err
	}
	if r == nil {
		return nil
	}
	return m.end(context.WithoutCancel(ctx), b, r)
}

// remove is Remove of a container without a process, with opLock held. Record and
// sandbox go first: what a crash leaves after that is swept by Restore.
func (m *Manager) remove(ctx context.Context, b *entry, o RemoveOptions) error {
	held, err := m.records.Forget(ctx, b.id)
	if err != nil {
		return fmt.Errorf("delete record of container %s: %w", model.Short(b.id), err)
	}
	b.mu.Lock()
	b.gone = true
	b.rec.State.Restarting, b.rec.State.Running = false, false
	rec, made := b.rec, b.made || b.tried || b.draft
	b.mu.Unlock()
	m.mu.Lock()
	delete(m.entries, b.id)
	m.mu.Unlock()
	m.execs.Forget(b.id)
	left := removal.Remains{ID: rec.ID, Sandbox: held, Made: made}
	err = m.cleanups.Now(ctx, left)
	if err != nil && m.cleanups.Later(left) {
		// The container is gone for all who ask; what is left is the manager's affair.
		m.log.Warn("removal to be finished later", "container", model.Short(b.id), "op", "container.remove", "err", err)
		err = nil
	}
	err = errors.Join(err, mounts.Release(ctx, m.volumes, rec.plain(), o.Volumes))
	m.outputs.closeOutput(ctx, b)
	m.say(b, dockerevents.ActionDestroy)
	// Why a start failed is no news for those who wait for the removal, only why
	// that failed is.
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	b.wake(int64(rec.State.ExitCode), problem, true)
	return err
}
