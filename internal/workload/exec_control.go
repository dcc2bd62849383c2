package workload

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// execBegins is how long the size of a terminal waits for its process: clients
// set it at once, while the process is being made.
const execBegins = 10 * time.Second

// ExecReady refuses an exec whose container does not run, or is paused; NotFound
// if there is no such exec. Doors ask before they take a connection over, while
// an error still has a status.
func (m *Manager) ExecReady(id string) error {
	e, err := m.findExec(id)
	if err != nil {
		return err
	}
	return execable(e.box)
}

// ResizeExec sets the size of an exec's terminal, in characters. One that is
// being started is waited for.
func (m *Manager) ResizeExec(ctx context.Context, id string, width, height uint) error {
	e, err := m.findExec(id)
	if err != nil {
		return err
	}
	if err := execable(e.box); err != nil {
		return err
	}
	if err := e.awaitBegun(ctx, execBegins); err != nil {
		return err
	}
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	if !running {
		return model.Errorf(model.Conflict, "exec %s is not running", id)
	}
	err = m.o.Execs.ResizeExec(ctx, e.box.id, id, width, height)
	if model.KindOf(err) == model.NotFound {
		return model.Errorf(model.Conflict, "exec %s is not running", id)
	}
	return err
}

// awaitBegun waits until the exec runs, or is known never to.
func (e *execution) awaitBegun(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-e.begun:
		return nil
	case <-timer.C:
		return model.Errorf(model.Internal, "timeout waiting for exec session ready")
	case <-ctx.Done():
		return model.Errorf(model.Unavailable, "waiting for the exec to start: %w", context.Cause(ctx))
	}
}
