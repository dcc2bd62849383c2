// Package overlays has the ops on networks of the swarm: the swarm makes and names them,
// and has chosen their subnets; a host has those that something on it uses.
//
// It is pure.
package overlays

import (
	"errors"
	"reflect"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// Put returns the op that makes a network of the swarm here, as the swarm has it, or
// brings it up to date. Its subnets are the swarm's choice.
func Put(n model.Network) ops.Op {
	return func(tx ops.Tx) error {
		d, err := tx.Drivers.Find(n.Driver)
		if err != nil {
			return err
		}
		if !d.Traits().Hosts {
			return model.Errorf(model.Unfit, "networks of driver %s do not reach over hosts", n.Driver)
		}
		n.Scope = model.ScopeSwarm
		have, there := tx.View().Network(n.ID)
		if there && reflect.DeepEqual(have, n) {
			return nil
		}
		if other, exists := tx.View().NetworkNamed(n.Name); exists && other.ID != n.ID {
			return &model.Error{Op: "network.create", Subject: "network " + n.Name, Kind: model.Conflict,
				Err: errors.New("network with name " + n.Name + " already exists"),
				Who: "the swarm's network of that name cannot be on this host: network " + model.Short(other.ID) + " is here alone",
				Way: "remove that one, or give the swarm's another name"}
		}
		if err := d.Validate(n, tx.View().Networks()); err != nil {
			return err
		}
		if err := driver.CheckCommon(n); err != nil {
			return err
		}
		tx.PutNetwork(n)
		return nil
	}
}

// Drop returns the op that removes a network of the swarm from this host. One that is gone
// is success; one that a container is on is refused.
func Drop(id model.NetworkID) ops.Op {
	return func(tx ops.Tx) error {
		if _, there := tx.View().Network(id); !there {
			return nil
		}
		if err := ops.RemoveSandbox(model.IngressSandbox(id).ID)(tx); err != nil {
			return err
		}
		return ops.RemoveNetwork(string(id))(tx)
	}
}
