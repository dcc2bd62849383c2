// Package shaping has the op that changes how the traffic of a network, or of one container
// on it, is slowed down or lost, while it runs. Like all ops it is a pure function on a
// transaction; what the options mean says package driver.
package shaping

import (
	"fmt"
	"maps"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// Set returns the op that sets options of driver.ShapeOptions of a network, by its name or
// ID; of one container's membership if sandbox is not empty. An empty value takes an option
// away, so that the network's counts for a membership. Options that are not named stay.
// Errors: NotFound; Conflict for a network that is not this host's alone; Invalid, as driver.ShapeOf says.
func Set(network string, sandbox model.SandboxID, options map[string]string) ops.Op {
	return func(tx ops.Tx) error {
		n, err := tx.View().FindNetwork(network)
		if err != nil {
			return err
		}
		if sandbox != "" {
			e, ok := tx.View().EndpointAt(sandbox, n.ID)
			if !ok {
				return model.Errorf(model.NotFound, "the container is not on network %s", n.Name)
			}
			e.DriverOpts = merged(e.DriverOpts, options)
			if _, err := driver.ShapeOf(n.Options, e.DriverOpts); err != nil {
				return err
			}
			tx.PutEndpoint(e)
			return nil
		}
		if n.Scope == model.ScopeSwarm {
			return &model.Error{Kind: model.Conflict, Err: fmt.Errorf("network %s is the swarm's: its options are the same on all hosts", n.Name),
				Way: "make it with the option, or shape its containers here one by one"}
		}
		n.Options = merged(n.Options, options)
		if _, err := driver.ShapeOf(n.Options, nil); err != nil {
			return err
		}
		tx.PutNetwork(n)
		for e := range tx.View().EndpointsOn(n.ID) {
			tx.PutEndpoint(e) // what it is slowed down to follows from the network
		}
		return nil
	}
}

// merged returns options with others in their place. Those that there are stay as they are:
// snapshots share them.
func merged(have, set map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for key, value := range set {
		if value == "" {
			delete(out, key)
			continue
		}
		out[key] = value
	}
	return out
}
