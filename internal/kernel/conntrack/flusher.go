package conntrack

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
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
	flush func(space string, stale Stale) error
	log   *slog.Logger
	kick  chan struct{} // holds a token while there may be something to do
	need  chan struct{} // holds a token while somebody waits for the next round
	loop  sync.WaitGroup

	mu      sync.Mutex       // guards the fields below
	pending map[string]Stale // by namespace, for the next round; sets, so no larger than the subnets, ports and services there are
	running map[string]Stale // in the round under way
	over    chan struct{}    // closed when that round is over
}

// NewFlusher starts a flusher. inside calls a function on a thread in a namespace, of
// which desired.HostNamespace is one.
func NewFlusher(inside func(space string, f func() error) error, log *slog.Logger) *Flusher {
	f := &Flusher{
		flush: func(space string, stale Stale) error {
			return inside(space, func() error { return Flush(stale) })
		},
		log:     log,
		kick:    make(chan struct{}, 1),
		need:    make(chan struct{}, 1),
		pending: map[string]Stale{},
		over:    make(chan struct{}),
	}
	f.loop.Go(f.rounds)
	return f
}

// Forget has stale connections of a namespace removed soon.
func (f *Flusher) Forget(space string, stale Stale) {
	if stale.empty() {
		return
	}
	f.mu.Lock()
	all, known := f.pending[space]
	if !known {
		all = nothing()
		f.pending[space] = all
	}
	all.merge(stale)
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

// Await returns when no connection of addrs in the host's namespace waits to be removed any
// more.
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
		if f.pending[desired.HostNamespace].Addrs[a] || f.running[desired.HostNamespace].Addrs[a] {
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

// round removes the connections that are stale.
func (f *Flusher) round() {
	f.mu.Lock()
	f.running, f.pending = f.pending, map[string]Stale{}
	now := f.running
	f.mu.Unlock()
	for space, stale := range now {
		// Nobody's request depends on it: a stale connection times out.
		if err := f.flush(space, stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("stale connections stay", "op", "conntrack.flush", "namespace", space, "err", err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = nil
	close(f.over)
	f.over = make(chan struct{})
}
