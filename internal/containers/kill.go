package containers

import (
	"context"
	"syscall"

	"github.com/moby/sys/signal"

	"github.com/linkspan/linkspan/internal/containers/signals"
	"github.com/linkspan/linkspan/internal/lifecycle"
	"github.com/linkspan/linkspan/internal/model"
)

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
		if sig, err = signals.Parse(name); err != nil {
			return err
		}
		if !signal.ValidSignalForPlatform(sig) {
			return model.Errorf(model.Invalid, "the linux daemon does not support signal %d", sig)
		}
	}
	b, err := m.acquire(ctx, ref)
	if err != nil {
		return err
	}
	r, rec := b.current(), b.snapshot()
	if r == nil && rec.State.Restarting { // there is nothing to signal, and will not be
		b.opLock.release()
		_, err := m.beginStop(ctx, b, true)
		return err
	}
	if r == nil {
		b.opLock.release()
		return notRunning(b.id)
	}
	if sig == syscall.SIGKILL || sig == signals.Stop(rec.Config) {
		after, _ := m.next(b, lifecycle.Event{What: lifecycle.StopAsked, Process: true})
		b.set(after)
	}
	b.opLock.release()
	if err := m.signalRun(ctx, b, r, sig); err != nil || sig != syscall.SIGKILL {
		return err
	}
	_, err = waitEnded(ctx, r, killTimeout)
	return err
}
