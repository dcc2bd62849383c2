package ops

import (
	"fmt"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// Connect returns the op for `docker network connect`: the sandbox joins one
// more network, at once if it is up. One that is down and a member already stays
// the member that it is, whatever the request says: Docker has it so.
func Connect(id model.SandboxID, spec EndpointSpec) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		n, err := tx.View().FindNetwork(spec.Network)
		if err != nil {
			return err
		}
		e, err := newEndpoint(sb, n, spec)
		if err != nil {
			return err
		}
		switch joined := member(tx, sb, n); {
		case joined && sb.Up:
			return alreadyThere(sb, n)
		case joined:
			return nil
		}
		if err := joinable(tx, sb, n); err != nil {
			return err
		}
		e.Order = nextOrder(tx, id)
		if !sb.Up {
			tx.PutEndpoint(e)
			return nil
		}
		if err := attach(tx, e); err != nil {
			return err
		}
		touchLinkers(tx, sb)
		return leads(tx, id, false)
	}
}

// member tells whether a sandbox is on a network, or will be from its next start
// on.
func member(tx Tx, sb model.Sandbox, n model.Network) bool {
	_, on := tx.View().EndpointAt(sb.ID, n.ID)
	return on || slices.ContainsFunc(sb.Pending, awaits(n))
}

// SharedNetworking is the refusal to change the networks of a container that has
// none of its own.
const SharedNetworking = "container sharing network namespace with another container or host cannot be connected to any other network"

// joinable refuses memberships that cannot be, whatever their settings.
func joinable(tx Tx, sb model.Sandbox, n model.Network) error {
	traits := tx.Drivers.Traits(n)
	switch {
	case traits.HostsOwn:
		return model.Errorf(model.Invalid, "cannot connect container to host network - container must be created in host network mode")
	case sb.Mode == model.SandboxHost:
		return model.Errorf(model.Invalid, SharedNetworking)
	}
	for e := range tx.View().EndpointsOf(sb.ID) {
		other, _ := tx.View().Network(e.Network)
		if traits.Alone || tx.Drivers.Traits(other).Alone {
			return model.Errorf(model.Invalid, "container cannot be connected to multiple networks with one of the networks in private (none) mode")
		}
	}
	return nil
}

func alreadyThere(sb model.Sandbox, n model.Network) error {
	return model.Errorf(model.Forbidden, "endpoint with name %s already exists in network %s", sb.Name, n.Name)
}

// awaits tells a membership that waits for a network: that was not there when it
// was asked for, and is now.
func awaits(n model.Network) func(EndpointSpec) bool {
	return func(s EndpointSpec) bool { return s.Network == n.Name || s.Network == string(n.ID) }
}

// Disconnect returns the op for `docker network disconnect`. force ends also a
// membership of a network that is not there; one that is not there is an error
// all the same, as Docker has it.
func Disconnect(id model.SandboxID, network string, force bool) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		n, err := tx.View().FindNetwork(network)
		if model.KindOf(err) == model.NotFound && forget(tx, sb, network) {
			return nil
		}
		if model.KindOf(err) == model.NotFound && force {
			return notConnected(sb, network)
		}
		if err != nil {
			return err
		}
		if tx.Drivers.Traits(n).HostsOwn && sb.Mode == model.SandboxHost {
			return model.Errorf(model.Invalid, "cannot disconnect container from host network - container was created in host network mode")
		}
		e, ok := tx.View().EndpointAt(id, n.ID)
		if !ok && (forget(tx, sb, n.Name) || forget(tx, sb, string(n.ID))) {
			return nil
		}
		if !ok {
			return notConnected(sb, n.Name)
		}
		tx.DeleteEndpoint(e.ID)
		touchLinkers(tx, sb)
		return leads(tx, id, true)
	}
}

func notConnected(sb model.Sandbox, network string) error {
	the := "the "
	if sb.Up {
		the = ""
	}
	return &model.Error{Op: "network.disconnect", Subject: "network " + network, Kind: model.Unfit,
		Err: fmt.Errorf("container %s is not connected to %snetwork %s", sb.Container, the, network)}
}

// forget drops the membership of a network that is not there, and tells whether
// there was one.
func forget(tx Tx, sb model.Sandbox, network string) bool {
	left := slices.DeleteFunc(slices.Clone(sb.Pending), func(s EndpointSpec) bool { return s.Network == network })
	if len(left) == len(sb.Pending) {
		return false
	}
	sb.Pending = left
	tx.PutSandbox(sb)
	return true
}
