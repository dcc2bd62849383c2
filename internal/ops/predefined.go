package ops

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/linkspan/linkspan/internal/driver/bridge"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// Predefine returns the op that makes the networks that are always there:
// none, host, and standard, called bridge, unless its Name is empty. It follows the daemon's
// flags; while containers use it, only in where ports are published from now on.
func (m NetworkMaker) Predefine(standard, host, none model.Network) Op {
	return func(tx Tx) error {
		for _, n := range []model.Network{none, host} {
			if _, ok := tx.View().NetworkNamed(n.Name); !ok {
				if err := m.put(tx, n, n); err != nil {
					return err
				}
			}
		}
		old, exists := tx.View().NetworkNamed(model.NetworkBridge)
		if exists && busy(tx, old) {
			rebind(tx, old, standard)
			return nil
		}
		if standard.Name == "" {
			if exists {
				remove(tx, old)
			}
			return nil
		}
		if exists {
			standard = m.keep(tx, old, standard)
		}
		standard = withLinkLocal(standard)
		return withPrefix(`error creating default "bridge" network: `, m.replace(tx, old, standard))
	}
}

// replace puts the default bridge in the place of the one there was, if any.
func (m NetworkMaker) replace(tx Tx, old, want model.Network) error {
	if err := gatewaysInside(want); err != nil || reflect.DeepEqual(old, want) {
		return err
	}
	if old.ID != "" { // its old pools are not in its own way
		bare := old
		bare.IPAM.Pools = nil
		tx.PutNetwork(bare)
	}
	return m.put(tx, want, want)
}

// withLinkLocal names the gateway of a default bridge whose subnet is the link's
// own: the address that the kernel gives the bridge in any case.
func withLinkLocal(n model.Network) model.Network {
	n.IPAM.Pools = slices.Clone(n.IPAM.Pools)
	for i, p := range n.IPAM.Pools {
		if p.Subnet == model.LinkLocalSubnet() && !p.Gateway.IsValid() {
			n.IPAM.Pools[i].Gateway = bridge.OwnAddress(n)
		}
	}
	return n
}

// keep returns the idle default bridge as it is wanted now: with the ID that it has,
// and in each family with the subnet and the address that it has, unless another
// subnet was asked for, or its device is gone and subnets come from elsewhere now.
func (m NetworkMaker) keep(tx Tx, old, want model.Network) model.Network {
	want.ID, want.Created = old.ID, old.Created
	var pools []model.Pool
	for _, f := range model.Families {
		was, had := old.Pool(f)
		is, asked := want.Pool(f)
		switch {
		case !want.Enabled(f):
			continue
		case had && !asked && m.Renumber && !m.offers(tx, was.Subnet):
		case had && (!asked || is.Subnet.Addr().IsUnspecified()):
			pools = append(pools, model.Pool{Subnet: was.Subnet, Gateway: was.Gateway, Aux: is.Aux})
		case had && is.Range == is.Subnet && !is.Gateway.IsValid(): // only a range was asked for
			pools = append(pools, around(was, is))
		case asked:
			pools = append(pools, is)
		}
	}
	want.IPAM.Pools = pools
	return want
}

// around returns a pool for the addresses of want, which is a range: the one there
// was if they are in it, grown if it is smaller, else a new one.
func around(was, want model.Pool) model.Pool {
	if !was.Subnet.Contains(want.Range.Addr()) || !was.Gateway.IsValid() {
		return want
	}
	want.Subnet = netip.PrefixFrom(was.Subnet.Addr(), min(was.Subnet.Bits(), want.Range.Bits())).Masked()
	want.Gateway = was.Gateway
	return want
}

// offers tells whether a subnet is one that networks can get by themselves.
func (m NetworkMaker) offers(tx Tx, subnet netip.Prefix) bool {
	return tx.Facts().Host.UniqueLocal.Overlaps(subnet) ||
		slices.ContainsFunc(m.Bases, func(b ipam.Base) bool { return b.Prefix.Overlaps(subnet) })
}

// gatewaysInside refuses a gateway of containers that is not in the subnet that was
// asked for with it.
func gatewaysInside(n model.Network) error {
	for _, p := range n.IPAM.Pools {
		f := model.FamilyOf(p.Subnet.Addr())
		if a, set := p.Aux[gateway.AuxKey(f)]; set && n.Enabled(f) && !p.Subnet.Contains(a) {
			return &model.Error{Kind: model.Forbidden, Err: outside(p, gateway.AuxKey(f)), Way: "default gateway ip must be part of the network"}
		}
	}
	return nil
}

// rebind changes where the default bridge publishes ports that do not say.
func rebind(tx Tx, old, want model.Network) {
	host := want.Options[bridge.OptionHostBinding]
	if want.Name == "" || host == old.Options[bridge.OptionHostBinding] {
		return
	}
	old.Options = maps.Clone(old.Options) // other snapshots have it too
	if old.Options == nil {
		old.Options = map[string]string{}
	}
	old.Options[bridge.OptionHostBinding] = host
	tx.PutNetwork(old)
}

func busy(tx Tx, n model.Network) bool {
	for e := range tx.View().EndpointsOn(n.ID) {
		if e.Up {
			return true
		}
	}
	return false
}
