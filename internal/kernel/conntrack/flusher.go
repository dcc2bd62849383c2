package conntrack

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
)

// Flusher forgets connections in the background.
type Flusher struct {
	flush func(gone map[netip.Addr]bool) error
	log   *slog.Logger
	kick  chan struct{} // holds a token while there may be something to do
	loop  sync.WaitGroup

	mu      sync.Mutex          // guards the fields below
	pending map[netip.Addr]bool // for the next round; a set, so no larger than the subnets
	running map[netip.Addr]bool // in the round under way
	over    chan struct{}       // closed when that round is over
}

// NewFlusher starts a flusher. inside calls a function on a thread in the
// namespace whose connections are meant.
func NewFlusher(inside func(func() error) error, log *slog.Logger) *Flusher {
	f := &Flusher{
		flush: func(gone map[netip.Addr]bool) error {
			return inside(func() error { return Flush(gone) })
		},
		log:     log,
		kick:    make(chan struct{}, 1),
		pending: map[netip.Addr]bool{},
		over:    make(chan struct{}),
	}
	f.loop.Go(f.rounds)
	return f
}

// Forget has the connections of addrs removed soon.
func (f *Flusher) Forget(addrs []netip.Addr) {
	if len(addrs) == 0 {
		return
	}
	f.mu.Lock()
	for _, a := range addrs {
		f.pending[a] = true
	}
	f.mu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default: // the loop has not taken the last token yet and will see these too
	}
}

// Await returns when no connection of addrs waits to be removed any more.
func (f *Flusher) Await(ctx context.Context, addrs []netip.Addr) error {
	for {
		f.mu.Lock()
		busy, over := f.busyLocked(addrs), f.over
		f.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *Flusher) busyLocked(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if f.pending[a] || f.running[a] {
			return true
		}
	}
	return false
}

// Close does what was asked for and ends.
func (f *Flusher) Close() {
	close(f.kick)
	f.loop.Wait()
}

func (f *Flusher) rounds() {
	for range f.kick {
		for f.round() {
		}
	}
}

// round removes the connections of what is pending, and reports whether there
// was anything.
func (f *Flusher) round() bool {
	f.mu.Lock()
	f.running, f.pending = f.pending, map[netip.Addr]bool{}
	now := f.running
	f.mu.Unlock()
	if len(now) > 0 {
		if err := f.flush(now); err != nil {
			// Nobody's request depends on it: a stale connection times out.
			f.log.Warn("connections of removed addresses stay", "op", "conntrack.flush", "err", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = nil
	close(f.over)
	f.over = make(chan struct{})
	return len(now) > 0
}
