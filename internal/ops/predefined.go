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
			return m.reconfigure(tx, old, bridge)
		}
		return m.put(tx, bridge)
	}
}

// reconfigure replaces the settings of an idle default bridge, keeping its ID,
// and its subnet where no other was asked for.
func (m NetworkMaker) reconfigure(tx *state.Tx, old, want model.Network) error {
	want.ID, want.Created = old.ID, old.Created
	if len(want.IPAM.Pools) == 0 && want.IPv6 == old.IPv6 {
		want.IPAM = old.IPAM
	}
	if reflect.DeepEqual(old, want) {
		return nil
	}
	// Its old pools are not in its own way.
	bare := old
	bare.IPAM.Pools = nil
	tx.PutNetwork(bare)
	return m.put(tx, want)
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
