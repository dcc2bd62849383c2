package ops

import (
	"maps"
	"reflect"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Predefine returns the op that makes the networks that are always there:
// none, host, and bridge unless its Name is empty. bridge follows the daemon's
// flags; while containers use it, only in where ports are published from now on.
func (m NetworkMaker) Predefine(bridge, host, none model.Network) Op {
	return func(tx *state.Tx) error {
		for _, n := range []model.Network{none, host} {
			if _, ok := tx.View().NetworkNamed(n.Name); !ok {
				if err := m.put(tx, n); err != nil {
					return err
				}
			}
		}
		old, exists := tx.View().NetworkNamed(model.NetworkBridge)
		if exists && busy(tx, old) {
			rebind(tx, old, bridge)
			return nil
		}
		if bridge.Name == "" {
			if exists {
				remove(tx, old)
			}
			return nil
		}
		if exists {
			bridge = keep(old, bridge)
		}
		return withPrefix(`error creating default "bridge" network: `, m.replace(tx, old, bridge))
	}
}

// replace puts the default bridge in the place of the one there was, if any.
func (m NetworkMaker) replace(tx *state.Tx, old, want model.Network) error {
	if err := gatewaysInside(want); err != nil || reflect.DeepEqual(old, want) {
		return err
	}
	if old.ID != "" { // its old pools are not in its own way
		bare := old
		bare.IPAM.Pools = nil
		tx.PutNetwork(bare)
	}
	return m.put(tx, want)
}

// keep returns the idle default bridge as it is wanted now: with the ID that it has,
// and in each family with the subnet and the address that it has, unless another
// subnet was asked for.
func keep(old, want model.Network) model.Network {
	want.ID, want.Created = old.ID, old.Created
	var pools []model.Pool
	for _, f := range families {
		was, had := old.Pool(f)
		is, asked := want.Pool(f)
		switch {
		case !want.Enabled(f):
			continue
		case had && (!asked || is.Subnet.Addr().IsUnspecified()):
			pools = append(pools, model.Pool{Subnet: was.Subnet, Gateway: was.Gateway, Aux: is.Aux})
		case asked:
			pools = append(pools, is)
		}
	}
	want.IPAM.Pools = pools
	return want
}

// gatewaysInside refuses a gateway of containers that is not in the subnet that was
// asked for with it.
func gatewaysInside(n model.Network) error {
	for _, p := range n.IPAM.Pools {
		f := model.FamilyOf(p.Subnet.Addr())
		if a, set := p.Aux[state.GatewayKey(f)]; set && n.Enabled(f) && !p.Subnet.Contains(a) {
			return &model.Error{Kind: model.Forbidden, Err: outside(p, state.GatewayKey(f)), Way: "default gateway ip must be part of the network"}
		}
	}
	return nil
}

// rebind changes where the default bridge publishes ports that do not say.
func rebind(tx *state.Tx, old, want model.Network) {
	host := want.Options[driver.OptionHostBinding]
	if want.Name == "" || host == old.Options[driver.OptionHostBinding] {
		return
	}
	old.Options = maps.Clone(old.Options) // other snapshots have it too
	if old.Options == nil {
		old.Options = map[string]string{}
	}
	old.Options[driver.OptionHostBinding] = host
	tx.PutNetwork(old)
}

func busy(tx *state.Tx, n model.Network) bool {
	for e := range tx.View().EndpointsOn(n.ID) {
		if e.Up {
			return true
		}
	}
	return false
}
