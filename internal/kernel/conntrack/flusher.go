package conntrack

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// A round makes the kernel walk its whole table, and whoever waits for an RCU
// grace period meanwhile (any change of a link or a rule) waits with it. So a
// round waits until nothing was asked for a while, unless somebody needs it.
const (
	quiet   = 100 * time.Millisecond // since the last request
	longest = time.Second            // since the first
)

// Flusher forgets connections in the background.
type Flusher struct {
	flush func(gone map[netip.Addr]bool) error
	log   *slog.Logger
	kick  chan struct{} // holds a token while there may be something to do
	need  chan struct{} // holds a token while somebody waits for the next round
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
		need:    make(chan struct{}, 1),
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
	token(f.kick)
}

// token puts a token where there is room for one; one that is there already
// serves both.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
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
		token(f.need)
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
	for open := true; open; {
		if _, open = <-f.kick; open {
			open = f.settle()
		}
		f.round()
	}
}

// settle waits for a good moment, and reports whether the flusher goes on
// afterwards.
func (f *Flusher) settle() bool {
	latest := time.After(longest)
	for {
		select {
		case _, open := <-f.kick:
			if !open {
				return false
			}
		case <-f.need:
			return true
		case <-time.After(quiet):
			return true
		case <-latest:
			return true
		}
	}
}

// round removes the connections of what is pending.
func (f *Flusher) round() {
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
}
