package ops

import (
	"github.com/linkspan/linkspan/internal/model"
)

// CreateSandbox returns the op for `docker create`: it records the sandbox and
// its memberships. Addresses that the user asked for are claimed from here on;
// whether they are in use matters only at start.
func CreateSandbox(sb model.Sandbox, endpoints []EndpointSpec) Op {
	return func(tx Tx) error {
		if _, exists := tx.View().Sandbox(sb.ID); exists {
			return model.Errorf(model.Conflict, "sandbox %s exists already", model.Short(sb.ID))
		}
		sb.Up, sb.Generation, sb.Pending, sb.Ports, sb.LinkedBy = false, 0, nil, nil, nil
		sb = enterLinks(tx, sb)
		for _, spec := range endpoints {
			n, err := tx.View().FindNetwork(spec.Network)
			if model.KindOf(err) == model.NotFound {
				sb.Pending = append(sb.Pending, spec)
				continue
			}
			if err != nil {
				return err
			}
			if err := enrol(tx, sb, n, spec); err != nil {
				return err
			}
		}
		tx.PutSandbox(sb)
		return nil
	}
}

// RemoveSandbox returns the op that forgets a sandbox, its memberships and its
// claims. One that is gone already is success.
func RemoveSandbox(id model.SandboxID) Op {
	return func(tx Tx) error {
		for e := range tx.View().EndpointsOf(id) {
			tx.DeleteEndpoint(e.ID)
		}
		if sb, ok := tx.View().Sandbox(id); ok {
			dropLinks(tx, sb)
		}
		tx.DeleteSandbox(id)
		return nil
	}
}

// RenameSandbox returns the op that has a sandbox answer to a new name on all its
// networks and to the old one no more.
func RenameSandbox(id model.SandboxID, name string) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		sb.Name = name
		putWhole(tx, sb) // what an endpoint answers to is planned with it
		return nil
	}
}

// SetResolving returns the op that changes how a sandbox's look-ups leave it.
func SetResolving(id model.SandboxID, r model.Resolving) Op {
	return func(tx Tx) error {
		sb, err := sandboxNamed(tx, id)
		if err != nil {
			return err
		}
		sb.DNS = r
		tx.PutSandbox(sb)
		return nil
	}
}
