package allocator

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/ipam"
	"github.com/linkspan/linkspan/internal/model"
)

// network is what one network has been given.
type network struct {
	local   bool // its hosts give addresses by themselves
	ingress bool
	pools   []pool
	vnis    []uint32
	held    map[netip.Addr]bool
}

// pool is one subnet of a network.
type pool struct {
	subnet, within netip.Prefix // within is where addresses come from that nobody asks for
	gateway        netip.Addr
	cursor         netip.Addr // the one given last
}

// errOverlap is Docker's text for a subnet that is in use.
var errOverlap = errors.New("invalid pool request: Pool overlaps with other one on this address space")

// settlePools gives nw the subnets and gateways of n: those that it has, else those
// that were asked for, else the lowest free one. It returns them as swarmkit stores
// them.
func (a *allocator) settlePools(n *api.Network, nw *network) (*api.IPAMOptions, error) {
	configs, driver := []*api.IPAMConfig(nil), &api.Driver{Name: ipamDefault}
	if s := n.Spec.IPAM; s != nil {
		configs = s.Configs
		if s.Driver != nil {
			driver.Options = s.Driver.Options
		}
	}
	if n.IPAM != nil {
		configs = n.IPAM.Configs
	}
	if len(configs) == 0 {
		configs = []*api.IPAMConfig{{Family: api.IPAMConfig_IPV4}}
	}
	out := &api.IPAMOptions{Driver: driver}
	for _, c := range configs {
		p, err := a.pool(c, nw)
		if err != nil {
			return nil, err
		}
		nw.pools = append(nw.pools, p)
		nw.held[p.gateway] = true
		settled := c.Copy()
		settled.Subnet, settled.Gateway = p.subnet.String(), p.gateway.String()
		out.Configs = append(out.Configs, settled)
	}
	return out, nil
}

// pool settles one subnet and its gateway. What users reserve in it is held.
func (a *allocator) pool(c *api.IPAMConfig, nw *network) (pool, error) {
	p, err := a.subnet(c, nw)
	if err != nil {
		return p, err
	}
	if c.Range != "" {
		if p.within, err = netip.ParsePrefix(c.Range); err != nil {
			return p, fmt.Errorf("invalid range %q: %w", c.Range, err)
		}
		p.within = p.within.Masked()
	}
	for name, text := range c.Reserved {
		one, err := netip.ParseAddr(text)
		if err != nil {
			return p, fmt.Errorf("invalid auxiliary address %q (%s)", text, name)
		}
		nw.held[one] = true
	}
	if c.Gateway != "" {
		if p.gateway, err = netip.ParseAddr(c.Gateway); err != nil {
			return p, fmt.Errorf("invalid gateway %q: %w", c.Gateway, err)
		}
		if !p.subnet.Contains(p.gateway) || nw.held[p.gateway] {
			return p, fmt.Errorf("gateway %s is not free in %s", p.gateway, p.subnet)
		}
		return p, nil
	}
	var ok bool
	if p.gateway, ok = ipam.Address(ipam.Request{Subnet: p.subnet, Taken: func(one netip.Addr) bool { return nw.held[one] }}); !ok {
		return p, fmt.Errorf("no address is free for the gateway of %s", p.subnet)
	}
	return p, nil
}

// subnet returns the subnet that was asked for, or the lowest free one.
func (a *allocator) subnet(c *api.IPAMConfig, nw *network) (pool, error) {
	var taken []netip.Prefix
	for _, other := range a.networks {
		for _, p := range other.pools {
			taken = append(taken, p.subnet)
		}
	}
	for _, p := range nw.pools {
		taken = append(taken, p.subnet)
	}
	if c.Subnet == "" {
		free, ok := ipam.Subnet(model.IPv4, a.bases, 0, taken)
		if !ok {
			return pool{}, errors.New("all predefined address pools have been fully subnetted")
		}
		return pool{subnet: free}, nil
	}
	asked, err := netip.ParsePrefix(c.Subnet)
	if err != nil {
		return pool{}, fmt.Errorf("invalid subnet %q: %w", c.Subnet, err)
	}
	asked = asked.Masked()
	if asked.Addr().IsUnspecified() { // any of this size
		free, ok := ipam.Subnet(model.FamilyOf(asked.Addr()), a.bases, asked.Bits(), taken)
		if !ok {
			return pool{}, errors.New("invalid address pool")
		}
		return pool{subnet: free}, nil
	}
	for _, t := range taken {
		if t.Overlaps(asked) {
			return pool{}, errOverlap
		}
	}
	return pool{subnet: asked}, nil
}

// take gives an address of family f: the one asked for, else the next free one.
func (nw *network) take(f model.Family, asked netip.Addr) (netip.Prefix, error) {
	found := false
	for i := range nw.pools {
		p := &nw.pools[i]
		if model.FamilyOf(p.subnet.Addr()) != f {
			continue
		}
		found = true
		if asked.IsValid() {
			if !p.subnet.Contains(asked) {
				continue
			}
			if nw.held[asked] {
				return netip.Prefix{}, errors.New("could not allocate IP from IPAM: Address already in use")
			}
			nw.held[asked] = true
			return netip.PrefixFrom(asked, p.subnet.Bits()), nil
		}
		one, ok := ipam.Address(ipam.Request{Subnet: p.subnet, Range: p.within, Cursor: p.cursor, Taken: func(one netip.Addr) bool { return nw.held[one] }})
		if ok {
			nw.held[one], p.cursor = true, one
			return netip.PrefixFrom(one, p.subnet.Bits()), nil
		}
	}
	switch {
	case asked.IsValid():
		return netip.Prefix{}, fmt.Errorf("could not find an available IP: %s is in no subnet of the network", asked)
	case !found:
		return netip.Prefix{}, fmt.Errorf("could not find an available IP: the network has no IPv%d subnet", f)
	}
	return netip.Prefix{}, fmt.Errorf("could not find an available IP: all of the network's IPv%d addresses are taken (%d are held, the gateway's included)", f, len(nw.held))
}

// families are those that the network has subnets of, IPv4 first.
func (nw *network) families() (out []model.Family) {
	for _, f := range model.Families {
		for _, p := range nw.pools {
			if model.FamilyOf(p.subnet.Addr()) == f {
				out = append(out, f)
				break
			}
		}
	}
	return out
}

// address reads an address as swarmkit stores it, with or without a length.
func address(text string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Addr().Unmap(), nil
	}
	one, err := netip.ParseAddr(text)
	if err != nil {
		return one, fmt.Errorf("could not parse address string %s", text)
	}
	return one.Unmap(), nil
}
