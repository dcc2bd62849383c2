package workload

import (
	"context"
	"io"
	"sync"
)

// inlet is a container's input for those attached to it. It outlives runs:
// `docker run` attaches before start.
type inlet struct {
	mu      sync.Mutex
	to      io.WriteCloser // nil while there is none
	changed chan struct{}  // closed when to is replaced
}

func newInlet() *inlet { return &inlet{changed: make(chan struct{})} }

// set gives the input of a new run; nil when it has ended.
func (i *inlet) set(to io.WriteCloser) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.to = to
	close(i.changed)
	i.changed = make(chan struct{})
}

// wait waits until there is an input and returns it.
func (i *inlet) wait(ctx context.Context) (io.WriteCloser, error) {
	for {
		i.mu.Lock()
		to, changed := i.to, i.changed
		i.mu.Unlock()
		if to != nil {
			return to, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
