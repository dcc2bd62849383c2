package ops

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// seatHost gives the host its addresses on a network of which it is to be a machine, and
// reserves them there. n has its pools.
func seatHost(tx Tx, n model.Network, d driver.Driver) (model.Network, error) {
	m, ok := d.(driver.HostMember)
	if !ok {
		return n, nil
	}
	named, every, err := m.HostAddresses(n)
	if err != nil || len(named) == 0 && !every {
		return n, err
	}
	n.IPAM.Pools = slices.Clone(n.IPAM.Pools)
	for i, p := range n.IPAM.Pools {
		j := slices.IndexFunc(named, p.Subnet.Contains)
		a := p.Aux[driver.HostAddressName] // of a template
		switch {
		case j >= 0:
			a = named[j]
			named = slices.Delete(named, j, j+1)
			err = checkSeat(tx, p, a)
		case every && !a.IsValid():
			a, err = freeSeat(tx, n, p)
		}
		if err != nil {
			return n, err
		}
		if a.IsValid() {
			n.IPAM.Pools[i].Aux = withAux(p.Aux, driver.HostAddressName, a)
		}
	}
	if len(named) > 0 {
		return n, &model.Error{Op: "network.create", Kind: model.Invalid,
			Err: fmt.Errorf("no configured subnet contains IP address %s", named[0]),
			Who: driver.HostAddressName + " names it, and the host has one address in each subnet"}
	}
	return n, nil
}

// freeSeat returns an address for the host that nobody is known to have.
func freeSeat(tx Tx, n model.Network, p model.Pool) (netip.Addr, error) {
	f := model.FamilyOf(p.Subnet.Addr())
	host := tx.Facts().Host
	a, ok := ipam.Address(ipam.Request{Subnet: p.Subnet, Range: p.Range, Taken: func(a netip.Addr) bool {
		return a == p.Gateway || auxiliary(p, a) || slices.Contains(host.Addrs, a) || slices.Contains(host.Resolvers, a)
	}})
	if !ok {
		return a, noAddress(n, f)
	}
	return a, nil
}

// checkSeat refuses an address that the host cannot have. One of IPv4 that it has already
// may be on two of its interfaces; the neighbours would hear two answers for one of IPv6.
func checkSeat(tx Tx, p model.Pool, a netip.Addr) error {
	refused := func(who string) error {
		return &model.Error{Op: "network.create", Kind: model.Unfit,
			Err: fmt.Errorf("failed to allocate secondary ip address (%s:%s): %s", driver.HostAddressName, a, addressInUse),
			Who: who, Way: "choose another one, or auto"}
	}
	switch {
	case a == p.Gateway:
		return refused("it is the gateway of the network, which is another machine")
	case ipam.Reserved(p.Subnet, a):
		return refused(fmt.Sprintf("no host can have it, as the first or last address of %s", p.Subnet))
	case a.Is6() && slices.Contains(tx.Facts().Host.Addrs, a):
		return refused("the host has it on another interface")
	}
	for name, other := range p.Aux {
		if other == a && name != driver.HostAddressName {
			return refused("it is reserved under the name " + name)
		}
	}
	return nil
}

func withAux(aux map[string]netip.Addr, name string, a netip.Addr) map[string]netip.Addr {
	out := maps.Clone(aux)
	if out == nil {
		out = map[string]netip.Addr{}
	}
	out[name] = a
	return out
}
