package workload

import (
	"context"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// maxUnfinished bounds how many removals wait to be finished.
	maxUnfinished = 4096

	finishFirst = time.Second
	finishLast  = time.Minute
)

// remains is what a removed container has left that could not be removed with it:
// the runtime's daemon may just be starting again.
type remains struct {
	id      model.ContainerID
	sandbox model.SandboxID // that the kernel did not let go of; else empty
	made    bool            // the runtime may have something
}

// unfinished are removals whose rest is tried again until it is done. What is still
// here when the daemon ends is swept by Restore: it has no record.
type unfinished struct {
	mu      sync.Mutex
	waiting []remains
	busy    bool // somebody is about them
}

// finishLater has the rest of a removal done once that is possible. False if too
// many wait already, or the manager is closed.
func (m *Manager) finishLater(left remains) bool {
	m.unfinished.mu.Lock()
	defer m.unfinished.mu.Unlock()
	if len(m.unfinished.waiting) >= maxUnfinished || m.closed.Err() != nil {
		return false
	}
	m.unfinished.waiting = append(m.unfinished.waiting, left)
	if !m.unfinished.busy {
		m.unfinished.busy = true
		m.work.Go(m.finish)
	}
	return true
}

// finish goes through the removals that wait, again and again until none is left.
func (m *Manager) finish() {
	for pause := finishFirst; ; pause = min(2*pause, finishLast) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-m.closed.Done():
			timer.Stop()
			return
		}
		if m.finishAll() {
			return
		}
	}
}

// finishAll tries every one that waits once; true if none is left.
func (m *Manager) finishAll() bool {
	m.unfinished.mu.Lock()
	all := m.unfinished.waiting
	m.unfinished.waiting = nil
	m.unfinished.mu.Unlock()
	var failed []remains
	for _, left := range all {
		ctx, cancel := context.WithTimeout(m.closed, verbTimeout)
		if err := m.dismantle(ctx, left); err != nil {
			m.log.Warn("removal still not finished", "container", model.Short(left.id), "op", "container.remove", "err", err)
			failed = append(failed, left)
		}
		cancel()
	}
	m.unfinished.mu.Lock()
	defer m.unfinished.mu.Unlock()
	m.unfinished.waiting = append(failed, m.unfinished.waiting...)
	m.unfinished.busy = len(m.unfinished.waiting) > 0
	return !m.unfinished.busy
}
