package containers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/containers/seats"
	"github.com/linkspan/linkspan/internal/model"
)

// downLast is the longest pause between two attempts to take a network down.
const downLast = 5 * time.Second

// networkDown takes the networks of containers down.
type networkDown struct {
	engine  Engine
	records records.Records
	seats   *seats.Seats
	closed  context.Context // ends with the manager
	work    *sync.WaitGroup
	log     *slog.Logger
}

// sandboxDown takes a container's network down and stores its record as it is to be
// then, both at once. If the container is not about to come back by itself, others may
// have its addresses, as with Docker; else they wait for it. What is refused at the
// moment is tried again until it works, so that a failure is only logged. The caller
// holds opLock, and changes the record in memory.
func (nd *networkDown) sandboxDown(ctx context.Context, b *entry, after record, back bool) {
	err := nd.records.TakeDown(ctx, after.plain(), back)
	if err == nil {
		nd.seats.Settle()
		return
	}
	if after.Sandbox != "" {
		nd.log.Warn("sandbox not taken down yet", "container", model.Short(b.id), "op", "sandbox.stop", "err", err)
		nd.work.Go(func() { nd.downLater(b, back) })
		err = nd.records.Commit(ctx, after.plain()) // does without the kernel
	}
	if err != nil {
		nd.log.Error("record not stored", "container", model.Short(b.id), "op", "sandbox.stop", "err", err)
	}
}

// downLater tries until the network is down, or there is no reason any more: the
// container runs again, or is gone. When the daemon ends, the next one goes on.
func (nd *networkDown) downLater(b *entry, back bool) {
	for pause := restartFirst; ; pause = min(2*pause, downLast) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-nd.closed.Done():
			timer.Stop()
			return
		}
		if nd.downNow(b, back) {
			return
		}
	}
}

// downNow tries once, and tells whether there is nothing left to do.
func (nd *networkDown) downNow(b *entry, back bool) bool {
	b.opLock.acquireNow()
	defer b.opLock.release()
	b.mu.Lock()
	runs := b.run != nil
	b.mu.Unlock()
	sb, ok := nd.engine.Snapshot().Sandbox(b.snapshot().Sandbox)
	if runs || b.isGone() || !ok || !sb.Up {
		return true
	}
	ctx, cancel := cleanup()
	defer cancel()
	err := nd.records.TakeDown(ctx, b.snapshot().plain(), back)
	nd.seats.Settle()
	return err == nil
}
