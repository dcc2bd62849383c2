// Package health checks the health of containers: it runs the probes of a health check
// (HEALTHCHECK of an image, --health-cmd), one after the other, and tells their results.
//
// It promises that two probes of one container never run at the same time and that what
// is left of a probe is taken away. What a result means for the container is its
// caller's affair.
package health

import (
	"context"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// Container is the container whose health is checked.
type Container interface {
	ID() model.ContainerID
	// Say publishes an event; pairs are attributes' names and values.
	Say(action events.Action, pairs ...string)
	HealthStatus() container.HealthStatus
	// NoteHealth records what judge makes of the health so far, unless checking has
	// ended meanwhile: then goOn is false.
	NoteHealth(ctx context.Context, judge func(container.Health) container.Health) (status container.HealthStatus, goOn bool)
}

// Runtime runs probes' processes; one that has ended is NotFound.
type Runtime interface {
	Exec(ctx context.Context, id model.ContainerID, exec string, p model.Process) (*model.Streams, error)
	StartExec(ctx context.Context, id model.ContainerID, exec string) (int, error)
	WaitExec(ctx context.Context, id model.ContainerID, exec string) (<-chan model.Exit, error)
	DeleteExec(ctx context.Context, id model.ContainerID, exec string) (model.Exit, error)
	KillExec(ctx context.Context, id model.ContainerID, exec string, sig syscall.Signal) error
}

// Options are what a Checker is made of; all are needed.
type Options struct {
	Runtime Runtime
	Closed  context.Context // ends with the manager: so does all checking
	Work    *sync.WaitGroup // of goroutines of our own
	Log     *slog.Logger
}

// Checker checks the health of all containers.
type Checker struct {
	o        Options
	starting chan struct{} // a place for each probe that is being started
}

// New returns a checker that checks nobody yet.
func New(o Options) *Checker { return &Checker{o: o, starting: make(chan struct{}, probesStarting)} }

// Monitor is what checks one container while it runs and is not paused. The zero value
// checks nothing. It belongs to whoever holds the container's lock.
type Monitor struct {
	cancel context.CancelFunc // nil while nothing is checked
	done   chan struct{}      // the last one has come to its end, and its probe too
}

// Begin checks a container that was started at the given time, unless m does already.
func (k *Checker) Begin(m *Monitor, c Container, check containerspec.Healthcheck, started time.Time) {
	if m.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(k.o.Closed)
	before, done := m.done, make(chan struct{})
	*m = Monitor{cancel: cancel, done: done}
	k.o.Work.Go(func() {
		defer close(done)
		defer cancel()
		if before != nil {
			<-before // two probes of one container must not be
		}
		k.check(ctx, c, check, steady(started, time.Now()))
	})
}

// End stops checking. It does not wait for the end of a probe.
func (m *Monitor) End() {
	if m.cancel != nil {
		m.cancel()
		m.cancel = nil
	}
}

// Done is closed once the last check has come to its end.
func (m *Monitor) Done() <-chan struct{} { return m.done }

// check probes a container until ctx ends.
func (k *Checker) check(ctx context.Context, c Container, check containerspec.Healthcheck, started time.Time) {
	p := newProbe(k, c, check)
	defer p.clear()
	status := c.HealthStatus()
	for {
		timer := time.NewTimer(check.Pause(status, time.Since(started)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		result := p.run(ctx)
		var goOn bool
		if status, goOn = c.NoteHealth(ctx, func(h container.Health) container.Health { return check.Judge(h, result, started) }); !goOn {
			return
		}
	}
}

// steady returns a time that was read from the clock of the wall, or is from before
// this daemon, as one whose distance from later ones does not change when that clock is
// set. now comes from time.Now.
func steady(at, now time.Time) time.Time { return now.Add(-max(now.Sub(at), 0)) }
