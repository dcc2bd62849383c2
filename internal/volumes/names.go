package volumes

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
)

// names let one verb at a time be about a volume. The zero value is ready.
type names struct {
	mu  sync.Mutex
	all map[string]chan struct{} // closed when released
}

// take waits for whoever is about a volume. Unavailable if ctx ends first.
func (n *names) take(ctx context.Context, name string) (release func(), err error) {
	for {
		release, held := n.try(name)
		if held == nil {
			return release, nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return nil, model.Errorf(model.Unavailable, "another operation on the volume goes on: %w", context.Cause(ctx))
		}
	}
}

// try returns what releases a name or, if somebody else has it, what is closed then.
func (n *names) try(name string) (release func(), held <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if held, ok := n.all[name]; ok {
		return nil, held
	}
	if n.all == nil {
		n.all = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	n.all[name] = done
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.all, name)
		close(done)
	}, nil
}
