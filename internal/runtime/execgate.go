package runtime

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
)

// execStarts is how many execs of one container may be started at the same time.
//
// A shim starts one after the other, and takes note of processes that ended only
// when no start is waiting its turn. It has room for 32 ended ones, of which every
// start makes two; once that is full, each further one costs it a second, and
// forty execs at once take half a minute.
const execStarts = 4

// gates let only so many through at a time, for each container. The zero value is
// ready.
type gates struct {
	mu  sync.Mutex
	all map[model.ContainerID]chan struct{}
}

// enter waits for a place and returns what gives it back.
func (g *gates) enter(ctx context.Context, id model.ContainerID) (leave func(), err error) {
	g.mu.Lock()
	if g.all == nil {
		g.all = map[model.ContainerID]chan struct{}{}
	}
	gate := g.all[id]
	if gate == nil {
		gate = make(chan struct{}, execStarts)
		g.all[id] = gate
	}
	g.mu.Unlock()
	select {
	case gate <- struct{}{}:
		return func() { <-gate }, nil
	case <-ctx.Done():
		return nil, model.Errorf(model.Unavailable, "too many execs are being started in %s: %w", describe(id), context.Cause(ctx))
	}
}

// forget drops the gate of a container that is removed.
func (g *gates) forget(id model.ContainerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.all, id)
}
