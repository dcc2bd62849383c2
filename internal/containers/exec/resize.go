package exec

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// beginLimit is how long the size of a terminal waits for its process: clients
// set it at once, while the process is being made.
const beginLimit = 10 * time.Second

// ExecReady refuses an exec whose container does not run, or is paused; NotFound
// if there is no such exec. Doors ask before they take a connection over, while
// an error still has a status.
func (x *Execs) ExecReady(id string) error {
	e, err := x.find(id)
	if err != nil {
		return err
	}
	return e.container.Ready()
}

// ResizeExec sets the size of an exec's terminal, in characters. One that is
// being started is waited for.
func (x *Execs) ResizeExec(ctx context.Context, id string, width, height uint) error {
	e, err := x.find(id)
	if err != nil {
		return err
	}
	if err := e.container.Ready(); err != nil {
		return err
	}
	if err := e.awaitBegun(ctx, beginLimit); err != nil {
		return err
	}
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	if !running {
		return model.Errorf(model.Conflict, "exec %s is not running", id)
	}
	err = x.o.Runtime.ResizeExec(ctx, e.container.ID(), id, width, height)
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
