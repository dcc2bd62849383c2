package ops

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// Seat returns the op that gives a membership of a sandbox that is down the addresses
// that the swarm chose for it, on a network that is here now.
func Seat(id model.SandboxID, endpoint model.EndpointID, network model.NetworkID, addrs []netip.Addr) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		if e, ok := tx.View().Endpoint(endpoint); ok {
			if e.Sandbox == id && !e.Up {
				tx.PutEndpoint(given(e, addrs))
			}
			return nil
		}
		pending := slices.Clone(sb.Pending)
		for i := range pending {
			if pending[i].ID == endpoint {
				pending[i].Network, pending[i].Given = string(network), addrs
			}
		}
		sb.Pending = pending
		tx.PutSandbox(sb)
		return nil
	}
}

// given returns e with addresses that somebody else chose, where it asks for none.
func given(e model.Endpoint, addrs []netip.Addr) model.Endpoint {
	for _, a := range addrs {
		if f := model.FamilyOf(a); !e.Static(f) {
			e = e.WithAddress(f, a, false)
		}
	}
	return e
}

// Await returns the op that makes a sandbox that is down a member, from its next start
// on, of a network that is not here.
func Await(id model.SandboxID, spec EndpointSpec) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(sb.Pending, func(other EndpointSpec) bool { return other.Network == spec.Network }) {
			return nil
		}
		sb.Pending = append(slices.Clone(sb.Pending), spec)
		tx.PutSandbox(sb)
		return nil
	}
}
