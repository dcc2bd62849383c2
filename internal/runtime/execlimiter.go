package runtime

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// execStarts is how many execs of one container may be started at the same time.
//
// A shim starts one after the other, and takes note of processes that ended only
// when no start is waiting its turn. It has room for 32 ended ones, of which every
// start makes two; once that is full, each further one costs it a second, and
// forty execs at once take half a minute.
const execStarts = 4

// execLimiter lets only so many execs be started at a time, for each container, and none
// while it is paused. The zero value is ready.
type execLimiter struct {
	mu     sync.Mutex
	all    map[model.ContainerID]chan struct{}
	paused map[model.ContainerID]bool
}

// enter waits for a place and returns what gives it back. Conflict if the container
// is paused.
func (g *execLimiter) enter(ctx context.Context, id model.ContainerID) (leave func(), err error) {
	gate := g.of(id)
	select {
	case gate <- struct{}{}:
	case <-ctx.Done():
		return nil, model.Errorf(model.Unavailable, "too many execs are being started in %s: %w", containerd.Describe(id), context.Cause(ctx))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused[id] { // maybe while we waited
		<-gate
		return nil, frozen(id)
	}
	return func() { <-gate }, nil
}

// frozen is the refusal of an exec in a paused container.
func frozen(id model.ContainerID) error {
	return model.Errorf(model.Conflict, "container %s is paused, unpause the container before exec", id)
}

// pause notes whether a container is paused. Who notes that it is has closed its
// gate before.
func (g *execLimiter) pause(id model.ContainerID, paused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !paused {
		delete(g.paused, id)
		return
	}
	if g.paused == nil {
		g.paused = map[model.ContainerID]bool{}
	}
	g.paused[id] = true
}

// close waits until nobody is inside and lets nobody in; it returns what opens the
// gate again. Two must not close one gate at the same time.
func (g *execLimiter) close(ctx context.Context, id model.ContainerID) (open func(), err error) {
	var leaves []func()
	open = func() {
		for _, leave := range leaves {
			leave()
		}
	}
	for range execStarts {
		leave, err := g.enter(ctx, id)
		if err != nil {
			open()
			return nil, err
		}
		leaves = append(leaves, leave)
	}
	return open, nil
}

func (g *execLimiter) of(id model.ContainerID) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[model.ContainerID]chan struct{}{}
	}
	gate := g.all[id]
	if gate == nil {
		gate = make(chan struct{}, execStarts)
		g.all[id] = gate
	}
	return gate
}

// forget drops the gate of a container that is removed.
func (g *execLimiter) forget(id model.ContainerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, id)
	delete(g.paused, id)
}
