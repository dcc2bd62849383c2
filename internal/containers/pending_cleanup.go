package containers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

const (
	// maxUnfinished bounds how many removals wait to be finished.
	maxUnfinished = 4096

	finishFirst = time.Second
	finishLast  = time.Minute
)

// remains is what a removed container has left that could not be removed with it:
// the runtime's daemon may just be starting again.
type remains struct {
	id      model.ContainerID
	sandbox model.SandboxID // that the kernel did not let go of; else empty
	made    bool            // the runtime may have something
}

// pendingCleanup are removals whose rest is tried again until it is done. What is still
// here when the daemon ends is swept by Restore: it has no record.
type pendingCleanup struct {
	engine  Engine
	runtime Containers
	dirs    containerfiles.Dirs
	closed  context.Context // ends with the manager
	work    *sync.WaitGroup
	log     *slog.Logger

	mu      sync.Mutex
	waiting []remains
	busy    bool // somebody is about them
}

// finishLater has the rest of a removal done once that is possible. False if too
// many wait already, or the manager is closed.
func (c *pendingCleanup) finishLater(left remains) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxUnfinished || c.closed.Err() != nil {
		return false
	}
	c.waiting = append(c.waiting, left)
	if !c.busy {
		c.busy = true
		c.work.Go(c.finish)
	}
	return true
}

// finish goes through the removals that wait, again and again until none is left.
func (c *pendingCleanup) finish() {
	for pause := finishFirst; ; pause = min(2*pause, finishLast) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.closed.Done():
			timer.Stop()
			return
		}
		if c.finishAll() {
			return
		}
	}
}

// finishAll tries every one that waits once; true if none is left.
func (c *pendingCleanup) finishAll() bool {
	c.mu.Lock()
	all := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	var failed []remains
	for _, left := range all {
		ctx, cancel := context.WithTimeout(c.closed, verbTimeout)
		if err := c.teardown(ctx, left); err != nil {
			c.log.Warn("removal still not finished", "container", model.Short(left.id), "op", "container.remove", "err", err)
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

// teardown removes what is left of a container that is out of the state, but for its
// volumes. What is gone already is success.
func (c *pendingCleanup) teardown(ctx context.Context, left remains) error {
	var network, runtime error
	var both sync.WaitGroup
	if left.sandbox != "" {
		both.Go(func() { _, network = c.engine.Do(ctx, ops.RemoveSandbox(left.sandbox)) })
	}
	if left.made {
		both.Go(func() { runtime = c.runtime.Delete(ctx, left.id) })
	}
	both.Wait()
	return errors.Join(network, runtime, c.dirs.Remove(left.id))
}
