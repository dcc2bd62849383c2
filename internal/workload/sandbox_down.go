package workload

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// downLast is the longest pause between two attempts to take a network down.
const downLast = 5 * time.Second

// sandboxDown takes a container's network down. If it is not about to come back
// by itself, others may have its addresses, as with Docker; else they wait for
// it. What is refused at the moment is tried again until it works, so that a failure
// is only logged. The caller has the turn.
func (m *Manager) sandboxDown(ctx context.Context, b *box, back bool) {
	err := m.takeDown(ctx, b, back)
	if err == nil {
		return
	}
	m.log.Warn("sandbox not taken down yet", "container", model.Short(b.id), "op", "sandbox.stop", "err", err)
	m.work.Go(func() { m.downLater(b, back) })
}

func (m *Manager) takeDown(ctx context.Context, b *box, back bool) error {
	id := b.snapshot().Sandbox
	if id == "" {
		return nil
	}
	op := ops.StopSandbox(id)
	if !back {
		op = ops.All(op, ops.YieldSandbox(id))
	}
	_, err := m.o.Engine.Do(ctx, op)
	return err
}

// downLater tries until the network is down, or there is no reason any more: the
// container runs again, or is gone. When the daemon ends, the next one goes on.
func (m *Manager) downLater(b *box, back bool) {
	for pause := restartFirst; ; pause = min(2*pause, downLast) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-m.closed.Done():
			timer.Stop()
			return
		}
		if m.downNow(b, back) {
			return
		}
	}
}

// downNow tries once, and tells whether there is nothing left to do.
func (m *Manager) downNow(b *box, back bool) bool {
	b.turn.must()
	defer b.turn.give()
	b.mu.Lock()
	runs := b.run != nil
	b.mu.Unlock()
	sb, ok := m.o.Engine.Snapshot().Sandbox(b.snapshot().Sandbox)
	if runs || b.isGone() || !ok || !sb.Up {
		return true
	}
	ctx, cancel := m.cleanup()
	defer cancel()
	return m.takeDown(ctx, b, back) == nil
}
