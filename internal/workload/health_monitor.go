package workload

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerspec"
)

// monitor is what checks a container's health while it runs and is not paused.
// It belongs to whoever has the container's turn.
type monitor struct {
	cancel context.CancelFunc // nil while nothing is checked
	done   chan struct{}      // the last one has come to its end, and its probe too
}

// beginHealth makes the health of a container that was started, or found running
// after a restart of the daemon, "starting", and begins to check it. The results
// of former runs stay in its log, as with Docker. The caller has the turn.
func (m *Manager) beginHealth(b *box) {
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
	m.goOnWithHealth(b)
}

// goOnWithHealth checks a container's health if there is something to check, it
// is not paused, and nobody does it yet. The caller has the turn.
func (m *Manager) goOnWithHealth(b *box) {
	rec := b.snapshot()
	c, checked := containerspec.HealthcheckOf(rec.Config)
	if !checked || rec.State.Paused || b.monitor.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(m.closed)
	before, done := b.monitor.done, make(chan struct{})
	b.monitor = monitor{cancel: cancel, done: done}
	m.work.Go(func() {
		defer close(done)
		defer cancel()
		if before != nil {
			<-before // two probes of one container must not be
		}
		m.monitorHealth(ctx, b, c, steady(rec.State.StartedAt, time.Now()))
	})
}

// steady returns a time that was read from the clock of the wall, or is from before
// this daemon, as one whose distance from later ones does not change when that clock is
// set. now comes from time.Now.
func steady(at, now time.Time) time.Time { return now.Add(-max(now.Sub(at), 0)) }

// endHealth stops checking. What is not checked is not known to be well: Docker
// calls it unhealthy, without an event. The caller has the turn.
func (m *Manager) endHealth(b *box) {
	if b.monitor.cancel != nil {
		b.monitor.cancel()
		b.monitor.cancel = nil
	}
	b.edit(func(r *record) {
		if r.Health != nil {
			now := *r.Health
			now.Status = container.Unhealthy
			r.Health = &now
		}
	})
}

// monitorHealth probes a container until ctx ends.
func (m *Manager) monitorHealth(ctx context.Context, b *box, c containerspec.Healthcheck, started time.Time) {
	p := newProbe(m, b, c)
	defer p.clear()
	status := b.snapshot().health().Status
	for {
		timer := time.NewTimer(c.Pause(status, time.Since(started)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		result := p.run(ctx)
		var goOn bool
		if status, goOn = m.noteHealth(ctx, b, func(h container.Health) container.Health { return c.Judge(h, result, started) }); !goOn {
			return
		}
	}
}

// noteHealth records what a probe says of the health, unless checking has ended meanwhile.
// It is not written to disk: a daemon that starts again begins with "starting".
func (m *Manager) noteHealth(ctx context.Context, b *box, judge func(container.Health) container.Health) (status container.HealthStatus, goOn bool) {
	if err := b.turn.take(ctx); err != nil {
		return "", false
	}
	defer b.turn.give()
	rec := b.snapshot()
	if ctx.Err() != nil || rec.Health == nil {
		return "", false
	}
	now := judge(*rec.Health)
	b.edit(func(r *record) { r.Health = &now })
	if now.Status != rec.Health.Status {
		m.say(b, events.ActionHealthStatus+": "+events.Action(now.Status))
	}
	return now.Status, true
}
