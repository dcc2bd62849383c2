package workload

import (
	"context"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// downLast is the longest pause between two attempts to take a network down.
const downLast = 5 * time.Second

// sandboxDown takes a container's network down and stores its record as it is to be
// then, both at once. If the container is not about to come back by itself, others may
// have its addresses, as with Docker; else they wait for it. What is refused at the
// moment is tried again until it works, so that a failure is only logged. The caller
// has the turn, and changes the record in memory.
func (m *Manager) sandboxDown(ctx context.Context, b *box, after record, back bool) {
	err := m.records.TakeDown(ctx, after.plain(), back)
	if err == nil {
		return
	}
	if after.Sandbox != "" {
		m.log.Warn("sandbox not taken down yet", "container", model.Short(b.id), "op", "sandbox.stop", "err", err)
		m.work.Go(func() { m.downLater(b, back) })
		err = m.records.Commit(ctx, after.plain()) // does without the kernel
	}
	if err != nil {
		m.log.Error("record not stored", "container", model.Short(b.id), "op", "sandbox.stop", "err", err)
	}
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
	return m.records.TakeDown(ctx, b.snapshot().plain(), back) == nil
}
