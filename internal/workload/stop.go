package workload

import (
	"context"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/sys/signal"

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

// stop ends a container's process. The turn is taken only to send the signals:
// recording the exit needs it.
func (m *Manager) stop(ctx context.Context, b *box, o StopOptions) error {
	rec := b.snapshot()
	sig, timeout, err := m.stopTerms(rec, o)
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
func (m *Manager) beginStop(ctx context.Context, b *box, asked bool) (*run, error) {
	if err := b.turn.take(ctx); err != nil {
		return nil, err
	}
	defer b.turn.give()
	rec, r := b.snapshot(), b.current()
	if r == nil && !rec.State.Restarting {
		return nil, model.Errorf(model.NotModified, "container %s is already stopped", b.id)
	}
	b.edit(func(rec *record) {
		rec.Stopped = rec.Stopped || asked
		if r == nil {
			rec.State.Running, rec.State.Restarting = false, false
		}
	})
	if r != nil {
		m.records.SaveLogged(ctx, b.snapshot().plain(), "container.stop")
		return r, nil
	}
	m.sandboxDown(context.WithoutCancel(ctx), b, b.snapshot(), m.comesBack(b, false)) // else others may have its addresses now
	b.wake(int64(rec.State.ExitCode), "", false)
	return nil, nil
}

// stopTerms returns the signal and the seconds of patience, below 0 for ever.
func (m *Manager) stopTerms(rec record, o StopOptions) (syscall.Signal, int, error) {
	timeout := defaultStopTimeout
	if rec.Config.StopTimeout != nil {
		timeout = *rec.Config.StopTimeout
	}
	if o.Timeout != nil {
		timeout = *o.Timeout
	}
	if o.Signal == "" {
		return stopSignal(rec.Config), timeout, nil
	}
	sig, err := parseSignal(o.Signal)
	return sig, timeout, err
}

// signalRun sends a signal to the first process of a run. One that has ended is
// success: the watcher is about to say so.
func (m *Manager) signalRun(ctx context.Context, b *box, r *run, sig syscall.Signal) error {
	if err := b.turn.take(ctx); err != nil {
		return err
	}
	defer b.turn.give()
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
func (m *Manager) end(ctx context.Context, b *box, r *run) error {
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

// Kill sends a signal by name or number; empty is KILL. Conflict if the
// container does not run.
func (m *Manager) Kill(ctx context.Context, ref, name string) error {
	if err := m.kill(ctx, ref, name); err != nil {
		return model.Errorf(model.KindOf(err), "cannot kill container: %s: %w", ref, err)
	}
	return nil
}

// kill is Kill without the words that Docker puts before each of its errors.
func (m *Manager) kill(ctx context.Context, ref, name string) error {
	sig := syscall.SIGKILL
	if name != "" {
		var err error
		if sig, err = parseSignal(name); err != nil {
			return err
		}
		if !signal.ValidSignalForPlatform(sig) {
			return model.Errorf(model.Invalid, "the linux daemon does not support signal %d", sig)
		}
	}
	b, err := m.take(ctx, ref)
	if err != nil {
		return err
	}
	r, rec := b.current(), b.snapshot()
	if r == nil && rec.State.Restarting { // there is nothing to signal, and will not be
		b.turn.give()
		_, err := m.beginStop(ctx, b, true)
		return err
	}
	if r == nil {
		b.turn.give()
		return notRunning(b.id)
	}
	if sig == syscall.SIGKILL || sig == stopSignal(rec.Config) {
		b.edit(func(r *record) { r.Stopped = true })
	}
	b.turn.give()
	if err := m.signalRun(ctx, b, r, sig); err != nil || sig != syscall.SIGKILL {
		return err
	}
	_, err = waitEnded(ctx, r, killTimeout)
	return err
}

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
func (m *Manager) stopForRestart(ctx context.Context, b *box, o StopOptions) error {
	keep := b.snapshot().Host
	if keep.AutoRemove {
		without := *keep
		without.AutoRemove = false
		if err := b.turn.take(ctx); err != nil {
			return err
		}
		b.edit(func(r *record) { r.Host = &without })
		b.turn.give()
		defer func() {
			b.turn.must()
			b.edit(func(r *record) { r.Host = keep })
			b.turn.give()
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

func (b *box) setReturning(returning bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.returning = returning
}

// Pause freezes a container's processes.
func (m *Manager) Pause(ctx context.Context, ref string) error {
	b, err := m.take(ctx, ref)
	if err != nil {
		return err
	}
	defer b.turn.give()
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
	m.endHealth(b)
	m.records.SaveLogged(ctx, b.snapshot().plain(), "container.pause")
	m.say(b, events.ActionPause)
	return nil
}

// Unpause lets a paused container go on.
func (m *Manager) Unpause(ctx context.Context, ref string) error {
	b, err := m.take(ctx, ref)
	if err != nil {
		return err
	}
	defer b.turn.give()
	if !b.snapshot().State.Paused {
		return model.Errorf(model.Conflict, "container %s is not paused", b.id)
	}
	return orEnded(b.id, m.resume(ctx, b))
}

// resume is Unpause with the turn held.
func (m *Manager) resume(ctx context.Context, b *box) error {
	ctx = context.WithoutCancel(ctx)
	if err := m.o.Control.Resume(ctx, b.id); err != nil {
		return fmt.Errorf("cannot unpause container %s: %w", b.id, err)
	}
	b.edit(func(r *record) { r.State.Paused = false })
	m.goOnWithHealth(b)
	m.records.SaveLogged(ctx, b.snapshot().plain(), "container.unpause")
	m.say(b, events.ActionUnPause)
	return nil
}

// Resize sets the size of a container's terminal, in characters.
func (m *Manager) Resize(ctx context.Context, ref string, width, height uint) error {
	b, err := m.find(ref)
	if err != nil {
		return err
	}
	if b.current() == nil {
		return notRunning(b.id)
	}
	if err := m.o.Control.Resize(ctx, b.id, width, height); err != nil {
		return orEnded(b.id, err)
	}
	m.say(b, events.ActionResize, "height", strconv.FormatUint(uint64(height), 10), "width", strconv.FormatUint(uint64(width), 10))
	return nil
}
