package containers

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/linkspan/linkspan/internal/model"
)

// Close lets go of all containers, which run on: the next manager takes them over.
func (m *Manager) Close(ctx context.Context) error {
	m.close()
	idle := make(chan struct{})
	go func() {
		m.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close: work goes on: %w", context.Cause(ctx))
	}
}

// StopAll stops what runs, some at a time, each with its own signal and patience;
// ctx bounds the patience, after which they are killed. It comes before a Close
// that no container shall outlive: none is restarted any more. The user did not
// ask for it: the next manager starts again what has such a restart policy.
func (m *Manager) StopAll(ctx context.Context) error {
	m.ending.Store(true)
	var mu sync.Mutex
	var errs []error
	atOnce(m.all(), func(b *entry) {
		if b.current() == nil {
			return
		}
		if err := m.stop(ctx, b, StopOptions{unasked: true}); err != nil && model.KindOf(err) != model.NotModified {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
	})
	return errors.Join(errs...)
}
