// Package guests is the hub for network namespaces that somebody else made and that join
// networks of ours: of pods and containers of other runtimes (CNI), and of any process.
//
//	door ─▶ Attach ─▶ look at the namespace ─▶ engine.Do(op) ─▶ event ─▶ Attachment
//
// It decides what is not the model's to know: which namespace is at a path, which IDs a
// new guest gets, when one is no more, and what is said to those who listen. What a
// membership may be, ops and drivers decide. It must not touch the kernel or know what
// CNI is.
//
// A guest's namespace lives as long as anybody uses it, and we have a name for it. So its
// end is not seen in the kernel: Run looks for it, and so do an attach that fails, since
// what it lacks may be a dead one's, and Collect.
package guests

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine is where memberships are asked for.
type Engine interface {
	// Do returns once the kernel and the names follow; the snapshot contains the op's
	// effect.
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
	Snapshot() *state.Snapshot
	Facts() facts.Set
	Plan() desired.State
	// Await returns once the kernel has the rows of owners.
	Await(ctx context.Context, owners ...desired.Owner) error
}

// Namespaces looks at network namespaces of others.
type Namespaces interface {
	// Look says which is at a path, and for which of our owners it is held already.
	// Errors: NotFound if none is there; Invalid if it is none, or the host's own.
	Look(path string) (model.Guest, desired.Owner, error)
	// Inside returns its interfaces.
	Inside(path string) ([]facts.Inside, error)
	// Deserted returns which of the guests are no more, by the names of their namespaces.
	Deserted(guests map[string]model.Guest) []string
}

// Publisher is told what happens to networks.
type Publisher interface {
	// Publish does not wait for anybody.
	Publish(e events.Message)
}

// Options are what a Manager is made of; all are needed.
type Options struct {
	Engine     Engine
	Namespaces Namespaces
	Events     Publisher
	Drivers    driver.Set
	Logger     *slog.Logger
}

// Manager knows all guests. Its methods may be called from any goroutine.
type Manager struct {
	Options
	// coming is held for reading while a guest comes, and for writing while those that
	// are no more are looked for: a namespace may be found again by another path.
	coming sync.RWMutex
}

// New returns a manager of the engine's guests.
func New(o Options) *Manager { return &Manager{Options: o} }

// sweepInterval is how often Run looks for guests that are no more.
const sweepInterval = 15 * time.Second

// Run removes guests that are no more, until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		m.Sweep(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep removes the guests that are no more from all their networks, and returns how many
// there were.
func (m *Manager) Sweep(ctx context.Context) int {
	m.coming.Lock()
	defer m.coming.Unlock()
	s := m.Engine.Snapshot()
	all, of := map[string]model.Guest{}, map[string]model.Sandbox{}
	for sb := range s.Sandboxes() {
		if sb.Guest != nil {
			name := model.NamespaceOf(sb.Container)
			all[name], of[name] = *sb.Guest, sb
		}
	}
	if len(all) == 0 {
		return 0
	}
	gone := m.Namespaces.Deserted(all)
	for _, name := range gone {
		sb := of[name]
		members := m.ofSandbox(s, sb)
		if _, err := m.Engine.Do(ctx, ops.RemoveSandbox(sb.ID)); err != nil {
			m.Logger.Error("a network namespace that is no more keeps its place", "container", name, "path", sb.Guest.Path, "op", "guest.sweep", "err", err)
			continue
		}
		m.Logger.Info("a network namespace is no more: it is off its networks", "container", name, "path", sb.Guest.Path, "op", "guest.sweep")
		for _, a := range members {
			m.Events.Publish(events.Left(a.Network, string(sb.Container)))
		}
	}
	return len(gone)
}

// Detach takes guests off networks: all that are meant. That there are none is no error.
func (m *Manager) Detach(ctx context.Context, ref Ref) error {
	found, err := m.List(ref)
	if err != nil {
		return err
	}
	return m.detach(ctx, found)
}

func (m *Manager) detach(ctx context.Context, all []Attachment) error {
	var failed []error
	for _, a := range all {
		if _, err := m.Engine.Do(ctx, ops.DetachGuest(a.Endpoint.ID)); err != nil {
			failed = append(failed, err)
			continue
		}
		m.Events.Publish(events.Left(a.Network, string(a.Sandbox.Container)))
	}
	return errors.Join(failed...)
}

// Valid names an attachment of CNI that is in use.
type Valid struct{ Container, Interface string }

// Collect removes all attachments that came by CNI's network configuration of a name,
// except those that are in use, and what is no more. It goes on after an error.
func (m *Manager) Collect(ctx context.Context, config string, inUse []Valid) ([]Attachment, error) {
	keep := map[Valid]bool{}
	for _, v := range inUse {
		keep[v] = true
	}
	found, err := m.List(Ref{Door: model.DoorCNI, Config: config})
	if err != nil {
		return nil, err
	}
	var stale []Attachment
	for _, a := range found {
		if !keep[Valid{a.Endpoint.Claim.Container, a.Endpoint.Interface}] {
			stale = append(stale, a)
		}
	}
	err = m.detach(ctx, stale)
	m.Sweep(ctx)
	return stale, err
}

// Ready tells whether a network takes one more namespace: by trying what an Attach does to
// the model. Errors: NotFound if there is none; Invalid if it takes none; what an Attach
// says if it has no address left.
func (m *Manager) Ready(ctx context.Context, network string) error {
	n, err := m.Engine.Snapshot().FindNetwork(network)
	if err != nil {
		return err
	}
	if !m.Drivers.Traits(n).Interface || n.ConfigOnly {
		return model.Errorf(model.Invalid, "a network namespace cannot be attached to network %s", n.Name)
	}
	err = m.try(n)
	if m.freed(ctx, err) {
		err = m.try(n)
	}
	return err
}

// try has a namespace that nobody has join a network, in a transaction that is dropped.
func (m *Manager) try(n model.Network) error {
	id := ids.New()
	tx := ops.Begin(m.Engine.Snapshot(), m.Engine.Facts(), m.Drivers)
	err := ops.AttachGuest(ops.GuestRequest{
		Sandbox:  model.Sandbox{ID: model.SandboxID(id), Container: model.ContainerID(id), Name: "trial-" + model.Short(id), Guest: &model.Guest{Path: id}},
		Endpoint: ops.EndpointSpec{ID: model.EndpointID(id), Network: string(n.ID)},
	})(tx)
	if missing := (*facts.Missing)(nil); errors.As(err, &missing) {
		return nil // somebody outside says, and is asked by an Attach alone
	}
	return err
}
