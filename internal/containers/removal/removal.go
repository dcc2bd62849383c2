// Package removal removes what containers leave behind, and finishes later what cannot be removed with them: the
// runtime's daemon may just be starting again.
package removal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine is where sandboxes are removed.
type Engine interface {
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
}

// Runtime removes containers.
type Runtime interface {
	// Delete succeeds if there is none.
	Delete(ctx context.Context, id model.ContainerID) error
}

const (
	// maxUnfinished bounds how many removals wait to be finished.
	maxUnfinished = 4096

	finishFirst = time.Second
	finishLast  = time.Minute
	// tryTime bounds one attempt.
	tryTime = 2 * time.Minute
)

// Remains is what a removed container has left.
type Remains struct {
	ID      model.ContainerID
	Sandbox model.SandboxID // that the kernel did not let go of; else empty
	Made    bool            // the runtime may have something
}

// Finisher removes remains. What still waits when the daemon ends has no record, and is
// swept when it starts again. All fields that are exported are needed.
type Finisher struct {
	Engine  Engine
	Runtime Runtime
	Dirs    containerfiles.Dirs
	Closed  context.Context // its end ends all attempts
	Work    *sync.WaitGroup // counts who is about them
	Log     *slog.Logger

	mu      sync.Mutex
	waiting []Remains
	busy    bool // somebody is about them
}

// Later has the rest of a removal done once that is possible. False if too
// many wait already, or the manager is closed.
func (c *Finisher) Later(left Remains) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxUnfinished || c.Closed.Err() != nil {
		return false
	}
	c.waiting = append(c.waiting, left)
	if !c.busy {
		c.busy = true
		c.Work.Go(c.finish)
	}
	return true
}

// finish goes through the removals that wait, again and again until none is left.
func (c *Finisher) finish() {
	for pause := finishFirst; ; pause = min(2*pause, finishLast) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.Closed.Done():
			timer.Stop()
			return
		}
		if c.finishAll() {
			return
		}
	}
}

// finishAll tries every one that waits once; true if none is left.
func (c *Finisher) finishAll() bool {
	c.mu.Lock()
	all := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	var failed []Remains
	for _, left := range all {
		ctx, cancel := context.WithTimeout(c.Closed, tryTime)
		if err := c.Now(ctx, left); err != nil {
			c.Log.Warn("removal still not finished", "container", model.Short(left.ID), "op", "container.remove", "err", err)
			failed = append(failed, left)
		}
		cancel()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(failed, c.waiting...)
	c.busy = len(c.waiting) > 0
	return !c.busy
}

// Now removes what is left of a container that is out of the state, but for its
// volumes. What is gone already is success.
func (c *Finisher) Now(ctx context.Context, left Remains) error {
	var network, runtime error
	var both sync.WaitGroup
	if left.Sandbox != "" {
		both.Go(func() { _, network = c.Engine.Do(ctx, ops.RemoveSandbox(left.Sandbox)) })
	}
	if left.Made {
		both.Go(func() { runtime = c.Runtime.Delete(ctx, left.ID) })
	}
	both.Wait()
	return errors.Join(network, runtime, c.Dirs.Remove(left.ID))
}
