package swarm

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	types "github.com/moby/moby/api/types/swarm"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/model"
)

// place is a container's place on a network, as the manager knows it, by its task.
type place struct {
	task      string
	container model.ContainerID
	claimed   bool          // who asked for it has the answer
	given     chan struct{} // closed when it is given: then what follows is set
	network   model.Network
	addrs     []netip.Addr
	busy      bool // who asked for it has not used it yet
	gone      chan struct{}
	left      bool // gone is closed
}

// seats are the places of this host's containers on networks of the swarm, and these
// networks as far as they are here. mu guards fields only; overlays is held while a
// network is made or dropped here, so that none is dropped that somebody is about to use.
type seats struct {
	o        *Options
	log      *slog.Logger
	node     func() *cluster.Node
	opened   chan struct{} // closed when it is known whether this host is of a swarm
	overlays sync.Mutex

	mu     sync.Mutex
	places map[string]*place // by task
	wishes map[*wish]bool
	users  map[model.NetworkID]map[string]bool // networks that tasks of services need, by task
}

// seatTimeout bounds how long a container waits for a place.
const seatTimeout = cluster.RequestTimeout

// Seat asks the swarm for a container's place on a network, by name or ID, with these
// addresses. On return the network is here; used is to be called once, when the container
// is on it, or will never be. NotFound: this host is of no swarm.
func (m *seats) Seat(ctx context.Context, c model.ContainerID, network string, wanted []netip.Addr) (id model.NetworkID, addrs []netip.Addr, used func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, seatTimeout)
	defer cancel()
	select {
	case <-m.opened: // else the daemon is just starting
	case <-ctx.Done():
		return "", nil, nil, context.Cause(ctx)
	}
	n := m.node()
	if n == nil {
		return "", nil, nil, model.Errorf(model.NotFound, "network %s not found", network)
	}
	w := m.ask(c, network)
	err = n.Until(ctx, active)
	task := ""
	if err == nil {
		task, err = n.Attach(ctx, c, network, wanted)
	}
	if err != nil {
		m.unask(w)
		m.Settle() // the answer may be lost, and the place given
		return "", nil, nil, err
	}
	p := m.claim(task)
	m.unask(w)
	select {
	case <-p.given:
	case <-ctx.Done():
		late := model.Errorf(model.Unfit, "attaching to network failed, make sure your network options are correct and check manager logs: %v", context.Cause(ctx))
		late.Who = n.Why(context.WithoutCancel(ctx), task)
		m.drop(p)
		return "", nil, nil, late
	}
	return p.network.ID, p.addrs, func() {
		m.mu.Lock()
		p.busy = false
		m.mu.Unlock()
		m.Settle()
	}, nil
}

// wish is a request for a place that has no answer yet.
type wish struct {
	container model.ContainerID
	network   string
}

func (w *wish) meets(c model.ContainerID, n model.Network) bool {
	return w.container == c && (w.network == n.Name || strings.HasPrefix(string(n.ID), w.network))
}

func (m *seats) ask(c model.ContainerID, network string) *wish {
	w := &wish{c, network}
	m.mu.Lock()
	m.wishes[w] = true
	m.mu.Unlock()
	return w
}

// unask ends a request. Places that came for it and nobody has claimed are nobody's.
func (m *seats) unask(w *wish) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.wishes, w)
	for _, p := range m.places {
		if !p.claimed && w.meets(p.container, p.network) {
			p.busy = false
		}
	}
}

// claim returns the place of a task for who asked for it.
func (m *seats) claim(task string) *place {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.placeLocked(task)
	p.busy, p.claimed = true, true
	return p
}

func (m *seats) placeLocked(task string) *place {
	p, ok := m.places[task]
	if !ok {
		p = &place{task: task, given: make(chan struct{}), gone: make(chan struct{})}
		m.places[task] = p
	}
	return p
}

// drop gives up a place.
func (m *seats) drop(p *place) {
	m.mu.Lock()
	p.busy = false
	if !p.left {
		p.left = true
		close(p.gone)
	}
	given := isClosed(p.given)
	if !given {
		delete(m.places, p.task) // it may never be given: then nobody else forgets it
	}
	m.mu.Unlock()
	if given {
		return // who waits for the end gives it back
	}
	ctx, cancel := context.WithTimeout(context.Background(), seatTimeout)
	defer cancel()
	if err := m.node().Detach(ctx, p.task); err != nil {
		m.log.Warn("a place on a network is not given back", "op", "swarm.detach", "task", p.task, "err", err)
	}
}

// Led tells whether the swarm has a leader that answers this host.
func (m *Manager) Led(ctx context.Context) bool { return m.Node().Led(ctx) }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Settle ends the places of containers that are not on their networks any more. It is
// called after containers have left networks.
func (m *seats) Settle() {
	s := m.o.Engine.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.places {
		if p.busy || p.left || !isClosed(p.given) || on(s, p) {
			continue
		}
		p.left = true
		close(p.gone)
	}
}

// forgetPlaces ends all places: the swarm is left.
func (m *seats) forgetPlaces() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for task, p := range m.places {
		if !p.left {
			p.left = true
			close(p.gone)
		}
		delete(m.places, task)
	}
}

// placeKeeper is seats as the node sees them.
type placeKeeper struct{ *seats }

// Place implements cluster.Places: it makes the network here, and tells whoever waits.
func (m placeKeeper) Place(ctx context.Context, given cluster.Place) error {
	if err := m.ensure(ctx, given.Network); err != nil {
		return err
	}
	m.give(given)
	return nil
}

// give notes a place. It may come before the answer to the request for it.
func (m placeKeeper) give(given cluster.Place) *place {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, known := m.places[given.Task]
	if !known {
		p = m.placeLocked(given.Task)
		for w := range m.wishes {
			p.busy = p.busy || w.meets(given.Container, given.Network)
		}
	}
	p.container, p.network, p.addrs = given.Container, given.Network, nil
	for _, a := range given.Addresses {
		p.addrs = append(p.addrs, a.Addr())
	}
	if !isClosed(p.given) {
		close(p.given)
	}
	return p
}

// Left implements cluster.Places. Of a place that is not known the daemon has been told
// in an earlier life: its container is on the network, or has left it meanwhile.
func (m placeKeeper) Left(ctx context.Context, given cluster.Place) error {
	select {
	case <-m.opened: // for there is a node to give it back by
	case <-ctx.Done():
		return ctx.Err()
	}
	m.mu.Lock()
	p, known := m.places[given.Task]
	m.mu.Unlock()
	if !known {
		if err := m.ensure(ctx, given.Network); err != nil {
			return err
		}
		p = m.give(given)
	}
	m.Settle()
	select {
	case <-p.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.mu.Lock()
	delete(m.places, p.task)
	m.mu.Unlock()
	m.dropUnused(ctx, p.network.ID)
	n := m.node()
	if n == nil {
		return nil // the swarm is left
	}
	if err := n.Until(ctx, active); err != nil {
		return err
	}
	return n.Detach(ctx, p.task)
}

// active tells whether a node takes part in its swarm.
func active(s cluster.State) bool { return s.Status == types.LocalNodeStateActive }

// Networks implements cluster.Places.
func (m placeKeeper) Networks(ctx context.Context, wanted []model.Network) error {
	for _, n := range wanted {
		if err := m.ensure(ctx, n); err != nil {
			return err
		}
	}
	// An ingress network that is none any more goes.
	for n := range m.o.Engine.Snapshot().Networks() {
		if n.Ingress && !slices.ContainsFunc(wanted, func(w model.Network) bool { return w.ID == n.ID }) {
			m.overlays.Lock()
			err := m.o.Overlays.DropOverlay(ctx, n.ID)
			m.overlays.Unlock()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// ensure makes a network of the swarm here.
func (m *seats) ensure(ctx context.Context, n model.Network) error {
	m.overlays.Lock()
	defer m.overlays.Unlock()
	return m.o.Overlays.EnsureOverlay(ctx, n)
}

// EnsureFor makes a network of the swarm here for a task of a service. It stays until
// DropFor, and while somebody is on it. Twice is the same as once.
func (m *seats) EnsureFor(ctx context.Context, task string, n model.Network) error {
	m.mu.Lock()
	if m.users[n.ID] == nil {
		m.users[n.ID] = map[string]bool{}
	}
	m.users[n.ID][task] = true
	m.mu.Unlock()
	return m.ensure(ctx, n)
}

// DropFor says that a task needs a network no more.
func (m *seats) DropFor(ctx context.Context, task string, id model.NetworkID) {
	m.mu.Lock()
	delete(m.users[id], task)
	if len(m.users[id]) == 0 {
		delete(m.users, id)
	}
	m.mu.Unlock()
	m.dropUnused(ctx, id)
}

// dropUnused drops a network here that nobody is on, or is about to be.
func (m *seats) dropUnused(ctx context.Context, id model.NetworkID) {
	m.overlays.Lock()
	defer m.overlays.Unlock()
	s := m.o.Engine.Snapshot()
	n, ok := s.Network(id)
	if !ok || n.Ingress {
		return
	}
	for e := range s.EndpointsOn(id) {
		if e.Up {
			return
		}
	}
	m.mu.Lock()
	used := len(m.users[id]) > 0
	for _, p := range m.places {
		used = used || p.network.ID == id
	}
	m.mu.Unlock()
	if used {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := m.o.Overlays.DropOverlay(ctx, id); err != nil && model.KindOf(err) != model.Forbidden {
		m.log.Warn("a network of the swarm stays here", "op", "network.remove", "network", n.Name, "err", err)
	}
}
