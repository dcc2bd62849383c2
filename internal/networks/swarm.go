package networks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// Swarm keeps the networks that reach over hosts. Of them this host's model has those
// that something here is on.
type Swarm interface {
	// Role tells whether this host is of a swarm, and whether it manages it.
	Role() (member, manager bool)
	// Networks returns all of them. Unavailable: this host manages no swarm.
	Networks(ctx context.Context) ([]model.Network, error)
	// CreateNetwork makes one and returns it as it became.
	CreateNetwork(ctx context.Context, n model.Network) (model.Network, error)
	RemoveNetwork(ctx context.Context, id model.NetworkID) error
}

// swarmTimeout bounds one request to the swarm.
const swarmTimeout = 20 * time.Second

// notManager is Docker's word for networks that need a swarm. It is a refusal, not a
// state: Docker answers 403 here.
const notManager = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`

// overSwarm tells whether a request is for a network that reaches over hosts.
func (m *Manager) overSwarm(n model.Network) bool {
	if n.ConfigOnly {
		return false
	}
	return n.Scope == model.ScopeSwarm || m.reaches(n)
}

// reaches tells whether the networks of a kind reach over hosts by themselves.
func (m *Manager) reaches(n model.Network) bool {
	return m.maker.Drivers.Traits(n).Hosts
}

// createOverSwarm makes a network that reaches over hosts.
func (m *Manager) createOverSwarm(ctx context.Context, r CreateRequest) (model.Network, error) {
	n := r.Network
	if n.Driver == "" {
		n.Driver = m.maker.Drivers.Default()
	}
	member, manager := false, false
	if m.swarm != nil {
		member, manager = m.swarm.Role()
	}
	reaches := m.reaches(n)
	switch {
	case model.Predefined(n.Name):
		return n, model.Errorf(model.Forbidden, "operation is not permitted on predefined %s network ", n.Name)
	case reaches && !manager:
		return n, model.Errorf(model.Forbidden, "%s", notManager)
	case !member:
		return n, model.Errorf(model.Forbidden, "cannot create a swarm scoped network when swarm is not active")
	case !manager:
		return n, model.Errorf(model.Forbidden, "Cannot create a multi-host network from a worker node. Please create the network from a manager node.")
	case reaches && n.Scope == "local":
		return n, model.Errorf(model.Forbidden, "cannot downgrade network scope for %s networks", n.Driver)
	case n.Ingress && !reaches:
		return n, model.Errorf(model.Forbidden, "Ingress network can only be global scope network")
	}
	if err := ops.CheckNetwork(n); err != nil {
		return n, err
	}
	if err := m.freeName(ctx, n); err != nil {
		return n, err
	}
	if slices.Contains(r.Explicit, model.IPv4) && !n.IPv4 {
		return n, model.Errorf(model.Invalid, "IPv4 cannot be disabled in a Swarm scoped network")
	}
	ctx, cancel := context.WithTimeout(ctx, swarmTimeout)
	defer cancel()
	return m.swarm.CreateNetwork(ctx, n)
}

// freeName refuses a name that a network of the swarm has, or, to one of the swarm, a
// network of this host: of two on this host the op knows, and what else it refuses first.
func (m *Manager) freeName(ctx context.Context, n model.Network) error {
	if m.swarm == nil {
		return nil // the op looks at this host's
	}
	all, err := m.all(ctx)
	if err != nil && n.Scope == model.ScopeSwarm {
		return err
	}
	local := m.engine.Snapshot()
	for _, other := range all {
		if _, here := local.Network(other.ID); other.Name == n.Name && (!here || m.overSwarm(n)) {
			return &model.Error{Op: "network.create", Subject: "network " + n.Name, Kind: model.Conflict,
				Err: errors.New("network with name " + n.Name + " already exists"), Who: "it has the ID " + model.Short(other.ID)}
		}
	}
	return nil
}

// all returns the networks of this host, and those of the swarm that are not here.
// Errors: the swarm does not answer its manager.
func (m *Manager) all(ctx context.Context) ([]model.Network, error) {
	s := m.engine.Snapshot()
	out := ByAge(s)
	if m.swarm == nil {
		return out, nil
	}
	if _, manager := m.swarm.Role(); !manager {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, swarmTimeout)
	defer cancel()
	list, err := m.swarm.Networks(ctx)
	if err != nil {
		return out, err
	}
	for _, n := range list {
		if _, here := s.Network(n.ID); !here {
			out = append(out, n)
		}
	}
	return out, nil
}

// find returns the network of an ID, a name or the beginning of an ID, of a scope unless
// that is empty: of this host, or of the swarm.
func (m *Manager) find(ctx context.Context, ref, scope string) (model.Network, error) {
	s := m.engine.Snapshot()
	member := false
	if m.swarm != nil {
		member, _ = m.swarm.Role()
	}
	if !member {
		n, err := s.FindNetwork(ref)
		if err == nil && scope != "" && scope != Scope(n) {
			err = model.Errorf(model.NotFound, "network %s not found", ref)
		}
		return n, err
	}
	if n, here := s.Network(model.NetworkID(ref)); here && (scope == "" || scope == Scope(n)) {
		return n, nil // no other can be meant, and the swarm need not be asked
	}
	all, err := m.all(ctx)
	if err != nil {
		m.log.Info("the networks of the swarm are not known", "op", "network.find", "err", err)
	}
	var named, begun []model.Network
	for _, n := range all {
		switch {
		case scope != "" && scope != Scope(n):
		case string(n.ID) == ref:
			return n, nil
		case n.Name == ref:
			named = append(named, n)
		case strings.HasPrefix(string(n.ID), ref) && ref != "":
			begun = append(begun, n)
		}
	}
	found, what := named, "name"
	if len(named) == 0 {
		found, what = begun, "ID prefix"
	}
	switch len(found) {
	case 0:
		return model.Network{}, model.Errorf(model.NotFound, "network %s not found", ref)
	case 1:
		return found[0], nil
	}
	return model.Network{}, model.Errorf(model.Invalid, "%d matches found based on %s: network %s is ambiguous", len(found), what, ref)
}

// pruneSwarm removes the networks of the swarm that nobody is on, and returns their names.
func (m *Manager) pruneSwarm(ctx context.Context, wanted func(model.Network) bool) (removed []string) {
	if m.swarm == nil {
		return nil
	}
	if _, manager := m.swarm.Role(); !manager {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, swarmTimeout)
	defer cancel()
	list, err := m.swarm.Networks(ctx)
	if err != nil {
		m.log.Warn("networks of the swarm not pruned", "op", "network.prune", "err", err)
		return nil
	}
	for _, n := range list {
		if n.Ingress || !wanted(n) {
			continue
		}
		switch err := m.swarm.RemoveNetwork(ctx, n.ID); {
		case err == nil:
			removed = append(removed, n.Name)
		case model.KindOf(err) != model.Invalid: // else somebody is on it
			m.log.Warn("network of the swarm not pruned", "op", "network.prune", "network", n.Name, "err", err)
		}
	}
	return removed
}
