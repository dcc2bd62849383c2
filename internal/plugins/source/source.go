// Package source lets plugins answer what only they know of networks and endpoints: an
// engine.Source.
//
//	op ─▶ Missing ─▶ Ask ─▶ journal ─▶ IpamDriver.RequestPool, RequestAddress
//	                                   NetworkDriver.CreateNetwork, CreateEndpoint, Join ─▶ fact
//	endpoint goes down, network is removed ─▶ Return ─▶ Leave, DeleteEndpoint, ReleaseAddress ...
//
// What plugins hold for us is in the journal before they are asked, so that after a crash
// they are told to let go of it. What cannot be given back, since a plugin is away, is
// owed, and tried again until it is. Facts are answered from the journal after a restart,
// whether the plugin is there or not.
package source

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
	"github.com/linkspan/linkspan/internal/plugins/netplugin"
)

// Options are what a Source is made of.
type Options struct {
	Plugins *plugins.Registry
	// Folder is where the journal is; it is made.
	Folder string
	// Drivers and IPAM are the names that are no plugins'.
	Drivers, IPAM []string
	Logger        *slog.Logger
}

// Source asks plugins. Its methods may be called from any goroutine.
type Source struct {
	plugins *plugins.Registry
	builtin Options // Drivers and IPAM
	journal *journal
	locks   locks
	log     *slog.Logger

	stop context.CancelFunc
	done sync.WaitGroup
	owes chan struct{} // says that something is owed
}

// Open reads the journal and begins to give back what is owed.
func Open(o Options) (*Source, error) {
	j, err := openJournal(o.Folder, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("open the journal of plugins: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Source{plugins: o.Plugins, builtin: o, journal: j, log: o.Logger, stop: stop, owes: make(chan struct{}, 1)}
	o.Plugins.OnActivate(s.replay)
	s.done.Go(func() { s.settle(ctx) })
	return s, nil
}

// Close ends what is being tried. What is owed stays in the journal.
func (s *Source) Close() {
	s.stop()
	s.done.Wait()
}

// Concerns tells whether a network is one that plugins are asked about.
func (s *Source) Concerns(n model.Network) bool { return s.driver(n) != "" || s.ipam(n) != "" }

// driver returns the plugin that is a network's driver; empty if none is.
func (s *Source) driver(n model.Network) string {
	if slices.Contains(s.builtin.Drivers, n.Driver) {
		return ""
	}
	return n.Driver
}

// ipam returns the plugin that gives out a network's addresses; empty if none does.
func (s *Source) ipam(n model.Network) string {
	if slices.Contains(s.builtin.IPAM, n.IPAM.Driver) {
		return ""
	}
	return n.IPAM.Driver
}

// Ask implements engine.Source.
func (s *Source) Ask(ctx context.Context, q facts.Question) (facts.Fact, error) {
	unlock, err := s.locks.lock(ctx, string(q.Owner()))
	if err != nil {
		return nil, err
	}
	defer unlock()
	switch {
	case q.Endpoint.ID == "":
		return s.askNetwork(ctx, q)
	case q.Outward != nil:
		return s.askOutward(ctx, q)
	}
	return s.askEndpoint(ctx, q)
}

// Return implements engine.Source. What a plugin that is away cannot take back is owed,
// and that is success.
func (s *Source) Return(ctx context.Context, f, kept facts.Fact) error {
	unlock, err := s.locks.lock(ctx, string(f.Owner()))
	if err != nil {
		return err
	}
	defer unlock()
	switch f := f.(type) {
	case facts.Endpoint:
		before, ok := kept.(facts.Endpoint)
		if ok && before.Joined != nil && f.Joined != nil {
			return s.restore(ctx, f, before)
		}
		e, there := s.journal.endpoint(f.ID)
		if !there {
			return nil
		}
		e.Leaving = true
		if err := s.journal.putEndpoint(e); err != nil {
			return err
		}
		return s.orOwed(s.endpointBack(ctx, e))
	case facts.Network:
		n, there := s.journal.network(f.ID)
		if !there {
			return nil
		}
		n.Leaving = true
		if err := s.journal.putNetwork(n); err != nil {
			return err
		}
		return s.orOwed(s.networkBack(ctx, n))
	}
	return nil
}

// Answers implements engine.Source.
func (s *Source) Answers(context.Context) ([]facts.Fact, error) {
	var out []facts.Fact
	for _, n := range s.journal.networks() {
		if n.Complete && !n.Leaving {
			out = append(out, n.fact())
		}
	}
	for _, e := range s.journal.endpoints() {
		if e.Complete && !e.Leaving {
			out = append(out, e.Fact)
		}
	}
	return out, nil
}

// orOwed has what could not be given back tried again.
func (s *Source) orOwed(err error) error {
	if err == nil {
		return nil
	}
	s.log.Warn("a plugin cannot be told that something is gone; it is told later", "op", "plugin.return", "err", err)
	select {
	case s.owes <- struct{}{}:
	default:
	}
	return nil
}

// Pauses between attempts to give back what is owed.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// settle gives back what is owed, until it is, or ctx ends.
func (s *Source) settle(ctx context.Context) {
	pause := firstPause
	for {
		if len(s.owed()) == 0 {
			select {
			case <-s.owes:
				pause = firstPause
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if s.settleOnce(ctx) {
			pause = firstPause
		} else {
			pause = min(2*pause, lastPause)
		}
	}
}

// owed returns what is to be given back: endpoints before the networks that they are on.
func (s *Source) owed() (out []facts.Fact) {
	for _, e := range s.journal.endpoints() {
		if e.Leaving {
			out = append(out, e.Fact)
		}
	}
	for _, n := range s.journal.networks() {
		if n.Leaving {
			out = append(out, n.fact())
		}
	}
	return out
}

// returnTimeout bounds one attempt to give something back.
const returnTimeout = 30 * time.Second

// settleOnce tries once, and tells whether anything was given back.
func (s *Source) settleOnce(ctx context.Context) (some bool) {
	for _, f := range s.owed() {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, returnTimeout)
			defer cancel()
			unlock, err := s.locks.lock(ctx, string(f.Owner()))
			if err != nil {
				return err
			}
			defer unlock()
			if e, ok := f.(facts.Endpoint); ok {
				rec, there := s.journal.endpoint(e.ID)
				if !there || !rec.Leaving {
					return nil
				}
				return s.endpointBack(ctx, rec)
			}
			rec, there := s.journal.network(f.(facts.Network).ID)
			if !there || !rec.Leaving {
				return nil
			}
			return s.networkBack(ctx, rec)
		}()
		some = some || err == nil
	}
	return some
}

// asDriver returns the plugin of a name as a network driver.
func (s *Source) asDriver(ctx context.Context, name string) (netplugin.Driver, error) {
	p, err := s.plugins.Get(ctx, name, plugins.NetworkDriver)
	if err != nil {
		return netplugin.Driver{}, err
	}
	return netplugin.Driver{Plugin: p}, nil
}

// asIPAM returns the plugin of a name as one that gives out addresses.
func (s *Source) asIPAM(ctx context.Context, name string) (netplugin.IPAM, error) {
	p, err := s.plugins.Get(ctx, name, plugins.IpamDriver)
	if err != nil {
		return netplugin.IPAM{}, err
	}
	return netplugin.IPAM{Plugin: p}, nil
}

// tell makes a call that gives something back. That the plugin refuses it, or does not
// understand, is noted: it was told. That it was not reached, or did not answer, is an
// error.
func (s *Source) tell(what, id string, err error) error {
	if err != nil && netplugin.Told(err) {
		s.log.Warn("a plugin refuses to be told that something is gone", "op", "plugin.return", "call", what, "id", model.Short(id), "err", err)
		return nil
	}
	return err
}

// locks lets one at a time be busy with an owner.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits until an owner is nobody's, and returns what lets go of him.
func (l *locks) lock(ctx context.Context, owner string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		other, held := l.held[owner]
		if !held {
			mine := make(chan struct{})
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			l.held[owner] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, owner)
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
