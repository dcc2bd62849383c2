package ops

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// settleGateway sets aside the addresses of a pool that are not for endpoints: the
// gateway, the one asked for or the first that is free where the driver wants one,
// and the auxiliary ones. The pool's subnet is settled.
func settleGateway(n model.Network, p model.Pool, d driver.Driver) (model.Pool, error) {
	if p.Gateway.IsValid() {
		if why := unusable(p, p.Gateway); why != "" {
			return p, model.Errorf(model.Unfit, "failed to allocate gateway (%s): %s", p.Gateway, why)
		}
		return p, settleAuxiliary(p)
	}
	f := model.FamilyOf(p.Subnet.Addr())
	wanted := d.Traits().Gateway
	if chooser, ok := d.(driver.GatewayChooser); ok && wanted {
		var err error
		if wanted, err = chooser.NeedsGateway(n, f); err != nil {
			return p, err
		}
	}
	if wanted {
		own := p.Aux[gateway.AuxKey(f)] // of containers: it may be this one
		a, ok := ipam.Address(ipam.Request{Subnet: p.Subnet, Range: p.Range, Taken: func(a netip.Addr) bool { return a != own && auxiliary(p, a) }})
		if !ok {
			return p, noAddress(n, f)
		}
		p.Gateway = a
	}
	return p, settleAuxiliary(p)
}

// settleAuxiliary refuses auxiliary addresses that are in use by definition. One
// that names the gateway of containers may be the bridge's own address: it says
// so twice.
func settleAuxiliary(p model.Pool) error {
	seen := map[netip.Addr]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.Aux)) {
		a := p.Aux[name]
		taken := seen[a] || a == p.Gateway && name != gateway.AuxKey(model.FamilyOf(a)) || ipam.Reserved(p.Subnet, a)
		switch {
		case !p.Subnet.Contains(a):
			return outside(p, name)
		case taken:
			return model.Errorf(model.Unfit, "failed to allocate secondary ip address (%s:%s): %s", name, a, addressInUse)
		}
		seen[a] = true
	}
	return nil
}

// outside refuses an auxiliary address of another subnet.
func outside(p model.Pool, name string) error {
	return model.Errorf(model.Forbidden, "auxiliary address: (%s:%s) must belong to the master pool: %s", name, p.Aux[name], p.Subnet)
}

// addressInUse is Docker's word for an address that is not to be had.
const addressInUse = "Address already in use"

// unusable says why no interface can have an address of a pool; empty if one can.
func unusable(p model.Pool, a netip.Addr) string {
	switch {
	case !p.Subnet.Contains(a):
		return "requested address is out of range"
	case ipam.Reserved(p.Subnet, a):
		return fmt.Sprintf("%s\nit is the network's or the broadcast address of %s", addressInUse, p.Subnet)
	}
	return ""
}

func auxiliary(p model.Pool, a netip.Addr) bool {
	for _, aux := range p.Aux {
		if aux == a {
			return true
		}
	}
	return false
}
