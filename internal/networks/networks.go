// Package networks is the hub for networks: create, remove, prune, list and inspect,
// for whichever door asks.
//
//	door ─▶ Create ─▶ look at the host ─▶ engine.Do(op) ─▶ event ─▶ answer
//
// It decides what is not the model's to know: the ID and the time of a new network,
// that the host is looked at before a subnet is chosen, which networks a prune may
// take, whose fault a refusal is, and what is said to those who listen. What a
// network may be, ops and drivers decide. It must not touch the kernel or know how a
// client writes its requests.
//
// That a container joins or leaves a network is not here but in package containers:
// it has to wait for what else is done with the container.
package networks

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine is where networks are asked for.
type Engine interface {
	// Do returns once the kernel and the names follow; the snapshot contains the
	// op's effect.
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
	Snapshot() *state.Snapshot
	Facts() facts.Set
	// Observe looks at the host again, for ops to see.
	Observe(ctx context.Context) error
}

// Publisher is told what happens to networks.
type Publisher interface {
	// Publish does not wait for anybody.
	Publish(e events.Message)
}

// Options are what a Manager is made of. Engine and Events are needed.
type Options struct {
	Engine Engine
	Events Publisher
	Maker  ops.NetworkMaker
	Swarm  Swarm // nil: no network reaches over hosts
	Logger *slog.Logger
}

// Manager knows all networks. Its methods may be called from any goroutine.
type Manager struct {
	engine  Engine
	events  Publisher
	maker   ops.NetworkMaker
	swarm   Swarm
	log     *slog.Logger
	pruning atomic.Bool // one prune at a time
}

// New returns a manager of the engine's networks.
func New(o Options) *Manager {
	m := &Manager{engine: o.Engine, events: o.Events, maker: o.Maker, swarm: o.Swarm, log: o.Logger}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	return m
}

// Drivers returns the names of the kinds of networks there are, sorted; of plugins those
// that have networks.
func (m *Manager) Drivers() []string {
	names := map[string]bool{}
	for _, name := range m.maker.Drivers.Names() {
		names[name] = true
	}
	for n := range m.engine.Snapshot().Networks() { // also those of plugins
		names[n.Driver] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// Bases returns where subnets come from that nobody asks for.
func (m *Manager) Bases() []ipam.Base { return m.maker.Bases }

// CreateRequest asks for a network. Network has no ID and no time of creation yet,
// and of pools and scope only what the user asked for; Explicit are the families that
// the user switched on or off: the others may be by options.
type CreateRequest struct {
	Network  model.Network
	Explicit []model.Family
}

// Create makes a network and returns it as it became.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (model.Network, error) {
	n := r.Network
	if m.overSwarm(n) {
		return m.createOverSwarm(ctx, r)
	}
	if err := m.freeName(ctx, n); err != nil {
		return n, err
	}
	n.ID, n.Created = model.NetworkID(ids.New()), time.Now().UTC()
	// A subnet that nobody asked for must not overlap a route the host has now.
	if err := m.engine.Observe(ctx); err != nil {
		return model.Network{}, err
	}
	snapshot, err := m.engine.Do(ctx, m.maker.Create(n, r.Explicit...))
	if err != nil {
		return model.Network{}, withoutOwner(err)
	}
	if made, ok := snapshot.Network(n.ID); ok {
		n = made
	}
	m.events.Publish(events.Network(dockerevents.ActionCreate, n))
	return n, nil
}

// withoutOwner returns the refusal of the one object of the kernel that could not
// be as the request had it: the request made that object, so there is no need to
// say to whom it belongs.
func withoutOwner(err error) error {
	var failure *desired.Failure
	var cause *model.Error
	if errors.As(err, &failure) && errors.As(failure.Err, &cause) && model.KindOf(cause) != model.Internal {
		return cause
	}
	return err
}

// Remove removes a network by its name, its ID or the beginning of its ID.
func (m *Manager) Remove(ctx context.Context, ref string) error {
	n, err := m.find(ctx, ref, "")
	if err != nil {
		return err
	}
	if n.Scope == model.ScopeSwarm && m.swarm != nil {
		return m.swarm.RemoveNetwork(ctx, n.ID)
	}
	return m.remove(ctx, n)
}

// remove removes a network and says so. A template was never there for anybody but
// its makers.
func (m *Manager) remove(ctx context.Context, n model.Network) error {
	if _, err := m.engine.Do(ctx, ops.RemoveNetwork(string(n.ID))); err != nil {
		return err
	}
	if !n.ConfigOnly {
		m.events.Publish(events.Network(dockerevents.ActionDestroy, n))
	}
	return nil
}

// ByAge returns all networks, the oldest first.
func ByAge(s *state.Snapshot) []model.Network {
	return slices.SortedFunc(s.Networks(), func(a, b model.Network) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
}
