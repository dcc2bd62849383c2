package runtime

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// taskLocks let one at a time make, remove or clear away a container's task: a sweep
// must not take the shim and the bundle of a task that is just being made for
// forgotten ones. The zero value is ready.
type taskLocks struct {
	mu  sync.Mutex
	all map[model.ContainerID]chan struct{} // closed when unlocked
}

// try taskLocks a container's task; false if somebody has it.
func (c *taskLocks) try(id model.ContainerID) (release func(), ok bool) {
	release, held := c.lock(id)
	return release, held == nil
}

// take taskLocks a container's task, waiting for whoever has it.
func (c *taskLocks) take(ctx context.Context, id model.ContainerID) (release func(), err error) {
	for {
		release, held := c.lock(id)
		if held == nil {
			return release, nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return nil, model.Errorf(model.Unavailable, "another operation on the task of %s goes on: %w", containerd.Describe(id), context.Cause(ctx))
		}
	}
}

// lock returns what unlocks or, if somebody else has the lock, what is closed then.
func (c *taskLocks) lock(id model.ContainerID) (release func(), held <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.all[id]; ok {
		return nil, held
	}
	if c.all == nil {
		c.all = map[model.ContainerID]chan struct{}{}
	}
	done := make(chan struct{})
	c.all[id] = done
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.all, id)
		close(done)
	}, nil
}
