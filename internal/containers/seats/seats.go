// Package seats gives containers their places on networks that reach over hosts: before
// they are on one, and back after they have left it.
package seats

import (
	"context"
	"net/netip"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Swarm gives containers places on networks that reach over hosts.
type Swarm interface {
	// Active tells whether this host is of a swarm.
	Active() bool
	// Seat asks for a container's place on a network, by name or ID, with these addresses
	// if there are any. On return the network is here, and the container is to have addrs;
	// used is to be called once it is on the network, or will never be.
	Seat(ctx context.Context, c model.ContainerID, network string, wanted []netip.Addr) (n model.NetworkID, addrs []netip.Addr, used func(), err error)
	// Settle takes back the places of containers that have left their networks.
	Settle()
}

// Engine has the model of this host.
type Engine interface {
	Snapshot() *state.Snapshot
}

// Seats asks the swarm for places.
type Seats struct {
	Swarm  Swarm // nil: there is none
	Engine Engine
}

// Settle is called after containers have left networks.
func (se *Seats) Settle() {
	if se.Swarm != nil {
		se.Swarm.Settle()
	}
}

// needed tells whether a membership needs a place: its network reaches over hosts, or is
// not here and may be the swarm's.
func (se *Seats) needed(s *state.Snapshot, network string) bool {
	if se.Swarm == nil {
		return false
	}
	n, err := s.FindNetwork(network)
	if model.KindOf(err) == model.NotFound {
		return se.Swarm.Active() && !model.Predefined(network)
	}
	return err == nil && n.Scope == model.ScopeSwarm
}

// Take gets the places that a container needs which is about to start, and returns the
// ops that have it take them. used is to be called when it has started, or will not.
func (se *Seats) Take(ctx context.Context, c model.ContainerID, sandbox model.SandboxID) (take []ops.Op, used func(), err error) {
	var all []func()
	used = func() {
		for _, f := range all {
			f()
		}
	}
	s := se.Engine.Snapshot()
	sb, ok := s.Sandbox(sandbox)
	if se.Swarm == nil || !ok || sb.Up {
		return nil, used, nil
	}
	wanted := sb.Pending
	for _, e := range s.EndpointsInOrder(sandbox) {
		wanted = append(wanted[:len(wanted):len(wanted)], e.Spec(string(e.Network)))
	}
	for _, spec := range wanted {
		if spec.Service != nil || !se.needed(s, spec.Network) { // a task comes with its places
			continue
		}
		n, addrs, one, err := se.Swarm.Seat(ctx, c, spec.Network, asked(spec))
		if err != nil {
			return nil, used, err
		}
		all = append(all, one)
		take = append(take, ops.Seat(sandbox, spec.ID, n, addrs))
	}
	return take, used, nil
}

// asked are the addresses that a user asked for.
func asked(spec ops.EndpointSpec) (out []netip.Addr) {
	for _, a := range []netip.Addr{spec.IPv4, spec.IPv6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// Connect returns the op by which a container joins a network, with a place there if it
// runs and needs one.
func (se *Seats) Connect(ctx context.Context, c model.ContainerID, sandbox model.SandboxID, spec ops.EndpointSpec) (op ops.Op, used func(), err error) {
	nothing := func() {}
	s := se.Engine.Snapshot()
	sb, ok := s.Sandbox(sandbox)
	if !ok || !se.needed(s, spec.Network) {
		return ops.Connect(sandbox, spec), nothing, nil
	}
	n, err := s.FindNetwork(spec.Network)
	switch {
	case !sb.Up && err != nil:
		return ops.Await(sandbox, spec), nothing, nil
	case !sb.Up:
		return ops.Connect(sandbox, spec), nothing, nil
	case err == nil:
		if _, member := s.EndpointAt(sandbox, n.ID); member { // will be refused: it needs no place for that
			return ops.Connect(sandbox, spec), nothing, nil
		}
	}
	id, addrs, used, err := se.Swarm.Seat(ctx, c, spec.Network, asked(spec))
	if err != nil {
		return nil, nothing, err
	}
	spec.Network, spec.Given = string(id), addrs
	return ops.Connect(sandbox, spec), used, nil
}
