package containers

import (
	"context"
	"strconv"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/signals"
	"github.com/linkspan/linkspan/internal/lifecycle"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	defaultStopTimeout = 10 // seconds
	// killTimeout is how long a killed process may take to be gone.
	killTimeout = 10 * time.Second
)

// Stop asks a container's process to end, and kills it after the timeout.
// NotModified if it does not run.
func (m *Manager) Stop(ctx context.Context, ref string, o StopOptions) error {
	b, err := m.find(ref)
	if err != nil {
		return err
	}
	if err := m.stop(ctx, b, o); model.KindOf(err) == model.NotModified {
		return err
	} else if err != nil {
		return model.Errorf(model.KindOf(err), "cannot stop container: %s: %w", ref, err)
	}
	m.say(b, events.ActionStop)
	return nil
}

// stop ends a container's process. opLock is held only to send the signals:
// recording the exit needs it.
func (m *Manager) stop(ctx context.Context, b *entry, o StopOptions) error {
	rec := b.snapshot()
	sig, timeout, err := stopTerms(rec, o)
	if err != nil {
		return err
	}
	r, err := m.beginStop(ctx, b, !o.unasked)
	if err != nil || r == nil {
		return err
	}
	if !o.unasked { // a client that goes away does not take its request back
		ctx = context.WithoutCancel(ctx)
	}
	limit := time.Duration(timeout) * time.Second
	if timeout < 0 {
		limit = -1
	}
	if timeout != 0 {
		err := m.signalRun(ctx, b, r, sig)
		if model.KindOf(err) == model.Unavailable { // the runtime has just died: to be asked twice to end does no harm
			err = m.signalRun(ctx, b, r, sig)
		}
		if err != nil && model.KindOf(err) != model.Internal {
			return err
		} else if err != nil { // such as a signal that the kernel does not have
			m.log.Warn("stop signal not sent", "container", model.Short(b.id), "op", "container.stop", "err", err)
			limit = 0
		}
	}
	if ended, _ := waitEnded(ctx, r, limit); ended {
		return nil
	}
	// The patience, or that of a daemon that ends, is over.
	return m.end(context.WithoutCancel(ctx), b, r)
}

// beginStop marks the container as stopped by the user, if asked, and returns its
// run; nil if it was only waiting to be restarted.
func (m *Manager) beginStop(ctx context.Context, b *entry, asked bool) (*run, error) {
	if err := b.opLock.acquire(ctx); err != nil {
		return nil, err
	}
	defer b.opLock.release()
	r := b.current()
	after, do := m.next(b, lifecycle.Event{What: lifecycle.StopAsked, Process: r != nil, Unasked: !asked})
	if do.Do == lifecycle.RefuseStopped {
		return nil, model.Errorf(model.NotModified, "container %s is already stopped", b.id)
	}
	b.set(after)
	if do.Do == lifecycle.Signal {
		m.records.SaveLogged(ctx, b.snapshot().plain(), "container.stop")
		return r, nil
	}
	m.down.sandboxDown(context.WithoutCancel(ctx), b, after, do.KeepAddresses)
	b.wake(int64(after.State.ExitCode), "", false)
	return nil, nil
}

// stopTerms returns the signal and the seconds of patience, below 0 for ever.
func stopTerms(rec record, o StopOptions) (syscall.Signal, int, error) {
	timeout := defaultStopTimeout
	if rec.Config.StopTimeout != nil {
		timeout = *rec.Config.StopTimeout
	}
	if o.Timeout != nil {
		timeout = *o.Timeout
	}
	if o.Signal == "" {
		return signals.Stop(rec.Config), timeout, nil
	}
	sig, err := signals.Parse(o.Signal)
	return sig, timeout, err
}

// signalRun sends a signal to the first process of a run. One that has ended is
// success: the watcher is about to say so.
func (m *Manager) signalRun(ctx context.Context, b *entry, r *run, sig syscall.Signal) error {
	if err := b.opLock.acquire(ctx); err != nil {
		return err
	}
	defer b.opLock.release()
	if b.current() != r {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	err := m.o.Control.Kill(ctx, b.id, sig, false)
	if err != nil && model.KindOf(err) != model.NotFound {
		return model.Errorf(model.Internal, "Cannot kill container %s: %w", b.id, err)
	}
	m.say(b, events.ActionKill, "signal", strconv.Itoa(int(sig)))
	if b.snapshot().State.Paused {
		// A frozen process gets the signal when it is thawed. The runtime has thawed it
		// itself for SIGKILL, which may have ended it.
		if err := m.resume(ctx, b); err != nil && sig != syscall.SIGKILL && model.KindOf(err) != model.NotFound {
			return err
		}
	}
	return nil
}

// end kills a run and waits until its end is recorded.
func (m *Manager) end(ctx context.Context, b *entry, r *run) error {
	if err := m.signalRun(ctx, b, r, syscall.SIGKILL); err != nil {
		return err
	}
	ended, err := waitEnded(ctx, r, killTimeout+drainLimit)
	if err == nil && !ended {
		err = model.Errorf(model.Internal, "tried to kill container, but did not receive an exit event")
	}
	return err
}

// waitEnded waits for the recorded end of a run; limit below 0 is for ever.
func waitEnded(ctx context.Context, r *run, limit time.Duration) (bool, error) {
	var expired <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-r.ended:
		return true, nil
	case <-expired:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
