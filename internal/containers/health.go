package containers

import (
	"context"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/health"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/containerview"
)

// healthChecks begins and ends the checking of containers' health.
type healthChecks struct {
	*announcer
	checker *health.Checker
}

// beginHealth makes the health of a container that was started, or found running
// after a restart of the daemon, "starting", and begins to check it. The results
// of former runs stay in its log, as with Docker. The caller holds opLock.
func (hc *healthChecks) beginHealth(b *entry) {
	_, checked := containerspec.HealthcheckOf(b.snapshot().Config)
	b.edit(func(r *record) {
		if !checked {
			r.Health = nil
			return
		}
		log := []*container.HealthcheckResult{}
		if r.Health != nil {
			log = append(log, r.Health.Log...)
		}
		r.Health = &container.Health{Status: container.Starting, Log: log}
	})
	hc.goOnWithHealth(b)
}

// goOnWithHealth checks a container's health if there is something to check, it
// is not paused, and nobody does it yet. The caller holds opLock.
func (hc *healthChecks) goOnWithHealth(b *entry) {
	rec := b.snapshot()
	if c, checked := containerspec.HealthcheckOf(rec.Config); checked && !rec.State.Paused {
		hc.checker.Begin(&b.monitor, handle{hc.announcer, b}, c, rec.State.StartedAt)
	}
}

// endHealth stops checking. What is not checked is not known to be well: Docker
// calls it unhealthy, without an event. The caller holds opLock.
func (hc *healthChecks) endHealth(b *entry) {
	b.monitor.End()
	b.edit(func(r *record) {
		if r.Health != nil {
			now := *r.Health
			now.Status = container.Unhealthy
			r.Health = &now
		}
	})
}

// HealthStatus returns the container's health as it is now.
func (h handle) HealthStatus() container.HealthStatus {
	return containerview.Health(containerrecord.Record(h.b.snapshot())).Status
}

// NoteHealth records what a probe says of the health, unless checking has ended meanwhile.
// It is not written to disk: a daemon that starts again begins with "starting".
func (h handle) NoteHealth(ctx context.Context, judge func(container.Health) container.Health) (status container.HealthStatus, goOn bool) {
	b := h.b
	if err := b.opLock.acquire(ctx); err != nil {
		return "", false
	}
	defer b.opLock.release()
	rec := b.snapshot()
	if ctx.Err() != nil || rec.Health == nil {
		return "", false
	}
	now := judge(*rec.Health)
	b.edit(func(r *record) { r.Health = &now })
	if now.Status != rec.Health.Status {
		h.say(b, events.ActionHealthStatus+": "+events.Action(now.Status))
	}
	return now.Status, true
}
