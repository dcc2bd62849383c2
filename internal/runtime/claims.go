package runtime

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// claims let one at a time make, remove or clear away a container's task: a sweep
// must not take the shim and the bundle of a task that is just being made for
// forgotten ones. The zero value is ready.
type claims struct {
	mu  sync.Mutex
	all map[model.ContainerID]chan struct{} // closed when given back
}

// try claims a container's task; false if somebody has it.
func (c *claims) try(id model.ContainerID) (release func(), ok bool) {
	release, held := c.claim(id)
	return release, held == nil
}

// take claims a container's task, waiting for whoever has it.
func (c *claims) take(ctx context.Context, id model.ContainerID) (release func(), err error) {
	for {
		release, held := c.claim(id)
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

// claim returns what gives the claim back or, if somebody else has it, what is
// closed then.
func (c *claims) claim(id model.ContainerID) (release func(), held <-chan struct{}) {
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
