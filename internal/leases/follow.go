package leases

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine is where what servers say takes effect.
type Engine interface {
	Snapshot() *state.Snapshot
	Facts() facts.Set
	Learn(ctx context.Context, learned ...facts.Fact) error
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
}

const (
	// pause is how long the keeper is left alone after it did not answer.
	pause = time.Second
	// askTime bounds the question for a lease that the keeper has lost.
	askTime = 30 * time.Second
)

// Follower notes what servers say of leases that are held.
type Follower struct {
	Source Source
	Engine Engine
	Events *events.Bus
	Logger *slog.Logger
	// Changed is called after a container's address has changed, or what its server says of names.
	Changed func(id model.ContainerID)

	asking sync.Map // endpoints for which a lease is asked for again
}

// Follow runs until ctx ends.
func (f *Follower) Follow(ctx context.Context) {
	seen := uint64(0)
	for ctx.Err() == nil {
		now, held, err := f.Source.Keeper.WatchLeases(ctx, seen)
		if err == nil {
			seen = now
			f.compare(ctx, held)
			continue
		}
		seen = 0
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// compare makes the model follow what is held.
func (f *Follower) compare(ctx context.Context, held []facts.HeldLease) {
	type side struct {
		id     model.EndpointID
		family model.Family
	}
	known := map[side]bool{}
	for _, h := range held {
		known[side{h.Request.Endpoint, h.Request.Family()}] = true
		e, there := f.Engine.Snapshot().Endpoint(h.Request.Endpoint)
		if !there || !e.Up {
			continue // not yet, or no more: the engine gives it back
		}
		if err := f.note(ctx, e, h); err != nil && ctx.Err() == nil {
			f.Logger.Error("a lease takes no effect", "op", "leases.follow", "endpoint", model.Short(e.ID), "err", err)
		}
	}
	for e := range f.Engine.Snapshot().Endpoints() {
		n, _ := f.Engine.Snapshot().Network(e.Network)
		if !e.Up || !n.Leased() {
			continue
		}
		sb, _ := f.Engine.Snapshot().Sandbox(e.Sandbox)
		var lacking []model.Family
		for _, family := range model.Families {
			off := family == model.IPv6 && driver.IPv6Off(sb, e)
			if n.Enabled(family) && !off && !known[side{e.ID, family}] {
				lacking = append(lacking, family)
			}
		}
		if len(lacking) > 0 {
			f.askAgain(ctx, n, e, lacking)
		}
	}
}

// note has one endpoint follow its lease.
func (f *Follower) note(ctx context.Context, e model.Endpoint, h facts.HeldLease) error {
	lost, lease, family := h.Lost != "", h.Lease, h.Request.Family()
	had := e.Lease(family)
	switch {
	case lost && had == nil, !lost && had != nil && same(*had, lease):
		return nil
	case lost:
		if _, err := f.Engine.Do(ctx, ops.SetLease(e.ID, family, nil)); err != nil {
			return err
		}
		f.tell(e, "lease-lost", e.Address(family).String(), h.Lost)
		return nil
	}
	if err := f.Engine.Learn(ctx, f.Engine.Facts().Endpoint(e.ID).WithLease(family, &lease)); err != nil {
		return err
	}
	if _, err := f.Engine.Do(ctx, ops.SetLease(e.ID, family, &lease)); err != nil {
		return err
	}
	switch {
	case lease.Prefix.Addr() != e.Address(family):
		f.tell(e, "lease-changed", lease.Prefix.Addr().String(), "")
	case had == nil || !sameNames(*had, lease):
		f.files(e)
	}
	return nil
}

// sameNames tells whether two leases say the same of names.
func sameNames(a, b model.Lease) bool {
	return slices.Equal(a.DNS, b.DNS) && a.Domain == b.Domain && slices.Equal(a.Search, b.Search)
}

// files has the files of an endpoint's container follow.
func (f *Follower) files(e model.Endpoint) {
	if sb, ok := f.Engine.Snapshot().Sandbox(e.Sandbox); ok && f.Changed != nil {
		f.Changed(sb.Container)
	}
}

// tell says what has become of an endpoint's address.
func (f *Follower) tell(e model.Endpoint, action, address, why string) {
	s := f.Engine.Snapshot()
	n, _ := s.Network(e.Network)
	sb, _ := s.Sandbox(e.Sandbox)
	f.Logger.Warn(action, "op", "leases.follow", "container", model.Short(sb.Container), "network", n.Name, "address", address, "why", why)
	f.Events.Publish(events.Leased(n, sb, action, address, why))
	f.files(e)
}

// askAgain asks for leases that the keeper has lost, in the background: it was started
// anew, and its file is gone. While it waits for an answer others' leases may change often:
// that is no reason to ask once more.
func (f *Follower) askAgain(ctx context.Context, n model.Network, e model.Endpoint, families []model.Family) {
	if _, waits := f.asking.LoadOrStore(e.ID, true); waits {
		return
	}
	sb, _ := f.Engine.Snapshot().Sandbox(e.Sandbox)
	go func() {
		defer f.asking.Delete(e.ID)
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		_, err := f.Source.Ask(ctx, facts.Question{Network: n, Endpoint: e, Sandbox: sb, Families: families})
		now, there := f.Engine.Snapshot().Endpoint(e.ID)
		if err == nil && (!there || !now.Up) {
			err = f.Source.Keeper.ReturnLease(ctx, e.ID)
		}
		if err != nil && ctx.Err() == nil {
			f.Logger.Error("a lease is not held any more", "op", "leases.follow", "endpoint", model.Short(e.ID), "network", n.Name, "err", err)
		}
	}()
}

// same compares what is written: times are of different clocks.
func same(a, b model.Lease) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
