package containers

import (
	"context"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// waiter is somebody who waits for an exit or a removal.
type waiter struct {
	removal bool // only a removal will do
	tell    chan container.WaitResponse
}

// Wait returns a channel that yields once the condition holds: not-running at
// once if there is no process, next-exit only after a run that ends from now on,
// removed when the container is gone. Whoever gets the channel misses nothing
// that happens afterwards. It is closed without a word when ctx ends.
func (reg *registry) Wait(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error) {
	switch condition {
	case "", container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return nil, model.Errorf(model.Invalid, "invalid condition: %q", condition)
	}
	b, err := reg.find(ref)
	if err != nil {
		return nil, err
	}
	w := &waiter{removal: condition == container.WaitConditionRemoved, tell: make(chan container.WaitResponse, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := condition == "" || condition == container.WaitConditionNotRunning
	if b.gone || now && !b.rec.State.Running {
		w.tell <- container.WaitResponse{StatusCode: int64(b.rec.State.ExitCode)}
		close(w.tell)
		return w.tell, nil
	}
	b.waiters[w] = true
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.waiters[w] {
			delete(b.waiters, w)
			close(w.tell)
		}
	})
	return w.tell, nil
}

// wake tells those who wait for an exit or, if removed, all.
func (b *entry) wake(code int64, problem string, removed bool) {
	response := container.WaitResponse{StatusCode: code}
	if problem != "" {
		response.Error = &container.WaitExitError{Message: problem}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.waiters {
		if removed || !w.removal {
			w.tell <- response // there is room for one, and there is only this one
			close(w.tell)
			delete(b.waiters, w)
		}
	}
}
