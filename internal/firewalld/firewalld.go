// Package firewalld puts the bridges of our networks into firewalld's zone `docker`,
// over D-Bus, so that firewalld lets through what goes in or out of them; what
// passes is then for our own tables to say.
//
// The zone, of target ACCEPT, and the policy `docker-forwarding`, by which every
// zone may forward to it, are made permanent where they are missing, as Docker makes
// them, and firewalld is told to reload then. A bridge joins the zone when its network
// is made, when we start, and when firewalld has started or reloaded, which forgets
// who was in it. In between, whoever takes it out, or into another zone, is left
// to it.
//
//	rows ── Apply, Resync ──▶ the bridges there are ── session ──D-Bus──▶ firewalld
//	                                        Reloaded, NameOwnerChanged ◀──┘
//
// No call to firewalld is made while somebody waits for a network, each has a time
// limit, and no failure is more than a warning.
//
// Ours: the membership of our bridges. The zone and the policy stay as the
// administrator changes them.
package firewalld

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
)

const (
	// retryTime is how long after a failure, or without a bus, it is tried again; it
	// doubles from the one to the other.
	retryTime    = 2 * time.Second
	maxRetryTime = time.Minute
)

// Options are what a Firewalld needs to know.
type Options struct {
	Logger *slog.Logger
	// Address is the system bus; that of DBUS_SYSTEM_BUS_ADDRESS, or where it always
	// is, if empty. It is of transport unix.
	Address string
	// Reloaded is called after firewalld has started or reloaded, since it may have
	// flushed rules of others. It may take its time.
	Reloaded func(context.Context)
	// BeforeReload, if set, is called before firewalld is told to reload, for who has
	// something to save from that; what it returns is called afterwards.
	BeforeReload func(context.Context) (after func(context.Context))
}

// Firewalld follows the bridges that are wanted. It is a hand of the engine.
type Firewalld struct {
	log      *slog.Logger
	address  string
	reloaded func(context.Context)
	before   func(context.Context) func(context.Context)
	end      context.CancelFunc
	ended    chan struct{}
	news     chan struct{} // holds one token while bridges have changed

	mu       sync.Mutex // guards what follows
	bridges  desired.Bridges
	running  bool
	reloadAt time.Time

	told map[string]bool // warnings that were given; of the one session at a time
}

// New begins to follow firewalld, whether it runs or not. The caller closes what is
// returned.
func New(o Options) *Firewalld {
	ctx, end := context.WithCancel(context.Background())
	f := &Firewalld{
		log: o.Logger, address: o.Address, reloaded: o.Reloaded, before: o.BeforeReload, end: end, ended: make(chan struct{}),
		news: make(chan struct{}, 1), bridges: map[string]bool{}, told: map[string]bool{},
	}
	go func() {
		defer close(f.ended)
		f.follow(ctx)
	}()
	return f
}

// Close ends all calls. Bridges stay in the zone: containers go on.
func (f *Firewalld) Close() error {
	f.end()
	<-f.ended
	return nil
}

// Running tells whether firewalld runs, as far as is known.
func (f *Firewalld) Running() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

// ReloadedAt is when firewalld was last seen to start or reload; zero if never.
func (f *Firewalld) ReloadedAt() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reloadAt
}

// Apply implements engine.Hand. It waits for nothing and does not fail.
func (f *Firewalld) Apply(_ context.Context, deltas []desired.Delta) error {
	f.mu.Lock()
	added, removed := f.bridges.Follow(deltas)
	f.mu.Unlock()
	if len(added)+len(removed) > 0 {
		f.notify()
	}
	return nil
}

// Resync implements engine.Hand. It looks at the rows alone: who left the zone since it
// joined was taken out by somebody.
func (f *Firewalld) Resync(_ context.Context, want desired.State) (desired.Report, error) {
	bridges := map[string]bool{}
	for o := range want.Kind(desired.KindPolicy) {
		if p, ok := o.Row.(desired.BridgePolicy); ok {
			bridges[p.Bridge] = true
		}
	}
	f.mu.Lock()
	changed := !maps.Equal(f.bridges, bridges)
	f.bridges = bridges
	f.mu.Unlock()
	if changed {
		f.notify()
	}
	return desired.Report{}, nil
}

// Check implements engine.Hand. It asks nobody.
func (f *Firewalld) Check(context.Context, desired.State) (desired.Report, error) {
	return desired.Report{}, nil
}

func (f *Firewalld) notify() {
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *Firewalld) wanted() map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.bridges)
}

func (f *Firewalld) setRunning(running, reloaded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = running
	if reloaded {
		f.reloadAt = time.Now()
	}
}

// follow keeps a session on the bus until ctx ends.
func (f *Firewalld) follow(ctx context.Context) {
	pause := retryTime
	for {
		began := time.Now()
		err := f.session(ctx)
		f.setRunning(false, false)
		if ctx.Err() != nil {
			return
		}
		f.log.Debug("no session on the system bus", "op", "firewalld.connect", "err", err)
		if time.Since(began) > maxRetryTime {
			pause = retryTime
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, maxRetryTime)
		}
	}
}

// warn logs a failure, once for each text.
func (f *Firewalld) warn(message string, err error) {
	text := message + ": " + err.Error()
	if len(f.told) >= maxTold {
		clear(f.told)
	}
	if !f.told[text] {
		f.told[text] = true
		f.log.Warn(message, "op", "firewalld.zone", "err", err)
	}
}

// maxTold bounds how many warnings are remembered.
const maxTold = 1000
