package containers

import (
	"github.com/linkspan/linkspan/internal/lifecycle"
)

// life returns what of a record decides what becomes of its container.
func (r record) life() lifecycle.Container {
	policy := r.Host.RestartPolicy
	return lifecycle.Container{
		Running: r.State.Running, Paused: r.State.Paused, Restarting: r.State.Restarting,
		Started: !r.State.StartedAt.IsZero(), Failed: r.State.Error != "", Stopped: r.Stopped,
		Restarts: r.RestartCount, Retries: r.State.Retries,
		Policy:     lifecycle.Policy{Name: lifecycle.PolicyName(policy.Name), Max: policy.MaximumRetryCount},
		AutoRemove: r.Host.AutoRemove,
	}
}

// living returns the record as a transition has left its container. Times and reasons
// are the caller's to note.
func (r record) living(c lifecycle.Container) record {
	r.State.Running, r.State.Paused, r.State.Restarting = c.Running, c.Paused, c.Restarting
	r.Stopped, r.RestartCount, r.State.Retries = c.Stopped, c.Restarts, c.Retries
	return r
}

// next returns what follows from an event: the record after it, which is not b's yet,
// and what is to be done. The caller holds opLock.
func (m *Manager) next(b *entry, e lifecycle.Event) (after record, do lifecycle.Action) {
	b.mu.Lock()
	rec := b.rec
	e.Returning = b.returning
	b.mu.Unlock()
	e.Ending = m.ending.Load() || m.closed.Err() != nil
	c, do := lifecycle.Next(rec.life(), e)
	return rec.living(c), do
}
