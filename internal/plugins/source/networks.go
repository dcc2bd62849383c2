package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins/netplugin"
)

// Keys of options that drivers are told.
const (
	optionGeneric  = "com.docker.network.generic"
	optionIPv4     = "com.docker.network.enable_ipv4"
	optionIPv6     = "com.docker.network.enable_ipv6"
	optionInternal = "com.docker.network.internal"
)

// options are a network's as its driver is told them.
func options(n model.Network) netplugin.Options {
	user := n.Options
	if user == nil {
		user = map[string]string{}
	}
	out := netplugin.Options{}
	out.Put(optionGeneric, user)
	out.Put(optionIPv4, n.IPv4)
	out.Put(optionIPv6, n.IPv6)
	if n.Internal {
		out.Put(optionInternal, true)
	}
	return out
}

// askNetwork has plugins make a network. If it cannot be, they hold nothing of it.
func (s *Source) askNetwork(ctx context.Context, q facts.Question) (_ facts.Fact, err error) {
	if old, there := s.journal.network(q.Network.ID); there {
		if err := s.networkBack(ctx, old); err != nil {
			return nil, err
		}
	}
	n := network{Record: q.Network, Driver: s.driver(q.Network), IPAM: s.ipam(q.Network)}
	var skip [2]bool
	var d netplugin.Driver
	if n.Driver != "" {
		if d, skip, err = s.meet(ctx, &n); err != nil {
			return nil, err
		}
	}
	var i netplugin.IPAM
	if n.IPAM != "" {
		if i, err = s.asIPAM(ctx, n.IPAM); err != nil {
			return nil, err
		}
	}
	if err := s.journal.putNetwork(n); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.Leaving = true
			err = errors.Join(err, s.journal.putNetwork(n))
			_ = s.orOwed(s.networkBack(context.WithoutCancel(ctx), n)) //nolint:errcheck // it is always nil
		}
	}()
	if n.IPAM != "" {
		err = s.requestPools(ctx, i, &n, q, skip)
	} else {
		n.Pools = poolsOf(q, skip)
	}
	if err != nil {
		return nil, err
	}
	if n.Driver != "" {
		n.Made = true
		if err := s.journal.putNetwork(n); err != nil {
			return nil, err
		}
		if err := d.CreateNetwork(ctx, n.new()); err != nil {
			n.Made = !netplugin.Refused(err)
			return nil, err
		}
	}
	n.Complete = true
	return n.fact(), s.journal.putNetwork(n)
}

// meet asks a network's driver how far its networks reach, and in which families this one
// needs no gateway.
func (s *Source) meet(ctx context.Context, n *network) (d netplugin.Driver, skip [2]bool, err error) {
	if d, err = s.asDriver(ctx, n.Driver); err != nil {
		return d, skip, err
	}
	c, err := d.Capabilities(ctx)
	if err != nil {
		return d, skip, err
	}
	if n.Scope = c.Scope; n.Record.Scope == netplugin.ScopeLocal && c.Scope == netplugin.ScopeGlobal {
		return d, skip, model.Errorf(model.Forbidden, "cannot downgrade network scope for %s networks", n.Driver)
	}
	if c.ChoosesGateways {
		skip[0], skip[1], err = d.NeedsNoGateway(ctx, options(n.Record))
	}
	return d, skip, err
}

// poolsOf returns the pools that the engine has chosen, less gateways that nobody wants.
func poolsOf(q facts.Question, skip [2]bool) []pool {
	var out []pool
	for _, p := range q.Network.IPAM.Pools {
		made := pool{Subnet: p.Subnet, Range: p.Range, Aux: map[string]netip.Prefix{}}
		named := slices.ContainsFunc(q.Wished.IPAM.Pools, func(w model.Pool) bool { return w.Gateway.IsValid() && w.Gateway == p.Gateway })
		if p.Gateway.IsValid() && (named || !skip[familyIndex(model.FamilyOf(p.Subnet.Addr()))]) {
			made.Gateway = netip.PrefixFrom(p.Gateway, p.Subnet.Bits())
		}
		for name, a := range p.Aux {
			made.Aux[name] = netip.PrefixFrom(a, p.Subnet.Bits())
		}
		out = append(out, made)
	}
	return out
}

func familyIndex(f model.Family) int { return slices.Index(model.Families[:], f) }

// new is the network as its driver is told of it.
func (n network) new() netplugin.NewNetwork {
	out := netplugin.NewNetwork{NetworkID: string(n.Record.ID), Options: options(n.Record), IPv4Data: []netplugin.PoolData{}, IPv6Data: []netplugin.PoolData{}}
	for _, p := range n.Pools {
		d := netplugin.PoolData{AddressSpace: n.Space, Pool: p.Subnet.String()}
		if p.Gateway.IsValid() {
			d.Gateway = p.Gateway.String()
		}
		for name, a := range p.Aux {
			if d.AuxAddresses == nil {
				d.AuxAddresses = map[string]string{}
			}
			d.AuxAddresses[name] = a.String()
		}
		if p.Subnet.Addr().Is4() {
			out.IPv4Data = append(out.IPv4Data, d)
		} else {
			out.IPv6Data = append(out.IPv6Data, d)
		}
	}
	return out
}

// requestPools asks for a network's subnets, its gateways and what its user sets aside.
func (s *Source) requestPools(ctx context.Context, i netplugin.IPAM, n *network, q facts.Question, skip [2]bool) error {
	local, global, err := i.Spaces(ctx)
	if err != nil {
		return err
	}
	if n.Space = local; n.Scope == netplugin.ScopeGlobal {
		n.Space = global
	}
	for _, f := range model.Families {
		if !n.Record.Enabled(f) {
			continue
		}
		asked := slices.DeleteFunc(slices.Clone(q.Wished.IPAM.Pools), func(p model.Pool) bool { return familyOf(p) != f })
		if len(asked) == 0 {
			asked = []model.Pool{{}}
		}
		for _, p := range asked {
			if err := s.requestPool(ctx, i, n, wish{p, f, q.Avoid, skip[familyIndex(f)]}); err != nil {
				return err
			}
		}
	}
	return nil
}

// familyOf tells which family a pool is of that its user may not have named a subnet for.
func familyOf(p model.Pool) model.Family {
	for _, a := range []netip.Addr{p.Subnet.Addr(), p.Range.Addr(), p.Gateway} {
		if a.IsValid() {
			return model.FamilyOf(a)
		}
	}
	return model.IPv4
}

// wish is a subnet of family as its user asks for it.
type wish struct {
	model.Pool
	family model.Family
	// avoid are subnets that one which nobody asked for must not overlap.
	avoid     []netip.Prefix
	noGateway bool // unless it is named
}

// maxTries bounds how many subnets are looked at for one that does not overlap others.
const maxTries = 64

// choosePool asks for one subnet. Those that overlap what the host reaches already are
// held until another is found, so that they are not given again, and go back then.
func (s *Source) choosePool(ctx context.Context, i netplugin.IPAM, n *network, w wish) (netplugin.Pool, error) {
	r := netplugin.PoolRequest{AddressSpace: n.Space, Options: n.Record.IPAM.Options, V6: w.family == model.IPv6}
	if r.Options == nil {
		r.Options = map[string]string{}
	}
	if w.Subnet.IsValid() {
		r.Pool = w.Subnet.String()
	}
	if w.Range.IsValid() {
		r.SubPool = w.Range.String()
	}
	var held []string
	defer func() {
		for _, id := range held {
			if err := i.ReleasePool(context.WithoutCancel(ctx), id); err != nil {
				s.log.Warn("an overlapping subnet was not given back", "op", "plugin.pool", "plugin", n.IPAM, "pool", id, "err", err)
			}
		}
	}()
	for range maxTries {
		got, err := i.RequestPool(ctx, r)
		if err != nil {
			return got, err
		}
		overlaps := slices.ContainsFunc(w.avoid, got.Subnet.Overlaps)
		if !overlaps || w.Subnet.IsValid() || n.Scope == netplugin.ScopeGlobal || got.Subnet.Bits() == 0 {
			return got, nil
		}
		held = append(held, got.ID)
	}
	return netplugin.Pool{}, model.Errorf(model.Unfit, "plugin %s gives only subnets that overlap what the host reaches already", n.IPAM)
}

// requestPool asks for one subnet and what is set aside there.
func (s *Source) requestPool(ctx context.Context, i netplugin.IPAM, n *network, w wish) error {
	got, err := s.choosePool(ctx, i, n, w)
	if err != nil {
		return err
	}
	at := len(n.Pools)
	n.Pools = append(n.Pools, pool{ID: got.ID, Subnet: got.Subnet, Range: w.Range})
	p := &n.Pools[at]
	if err := s.journal.putNetwork(*n); err != nil {
		return err
	}
	switch {
	case !w.Gateway.IsValid() && got.Gateway.IsValid():
		p.Gateway = got.Gateway
	case w.Gateway.IsValid() || !w.noGateway:
		if p.Gateway, err = i.RequestAddress(ctx, p.ID, w.Gateway, map[string]string{netplugin.OptionAddressType: netplugin.OptionGateway}); err != nil {
			text := ""
			if w.Gateway.IsValid() {
				text = w.Gateway.String()
			}
			return model.Errorf(model.Unfit, "failed to allocate gateway (%s): %w", text, err)
		}
		p.Taken = append(p.Taken, p.Gateway.Addr())
	}
	for _, name := range slices.Sorted(maps.Keys(w.Aux)) {
		a := w.Aux[name]
		if !p.Subnet.Contains(a) {
			return model.Errorf(model.Forbidden, "auxiliary address: (%s:%s) must belong to the master pool: %s", name, a, p.Subnet)
		}
		given, err := i.RequestAddress(ctx, p.ID, a, nil)
		if err != nil {
			return model.Errorf(model.Unfit, "failed to allocate secondary ip address (%s:%s): %w", name, a, err)
		}
		if p.Aux == nil {
			p.Aux = map[string]netip.Prefix{}
		}
		p.Aux[name], p.Taken = given, append(p.Taken, given.Addr())
	}
	return s.journal.putNetwork(*n)
}

// networkBack has plugins let go of a network, and of what is still on it. The caller has
// its lock.
func (s *Source) networkBack(ctx context.Context, n network) error {
	for _, e := range s.journal.endpoints() {
		if e.Network != n.Record.ID || !e.Leaving {
			continue
		}
		if err := s.endpointBackAlone(ctx, e.Fact.ID); err != nil {
			return err
		}
	}
	if n.IPAM != "" && len(n.Pools) > 0 {
		i, err := s.asIPAM(ctx, n.IPAM)
		if err != nil {
			return err
		}
		for len(n.Pools) > 0 {
			p := n.Pools[0]
			for _, a := range p.Taken {
				if err := s.tell("ReleaseAddress", string(n.Record.ID), i.ReleaseAddress(ctx, p.ID, a)); err != nil {
					return err
				}
			}
			if err := s.tell("ReleasePool", string(n.Record.ID), i.ReleasePool(ctx, p.ID)); err != nil {
				return err
			}
			n.Pools = n.Pools[1:]
			if err := s.journal.putNetwork(n); err != nil {
				return err
			}
		}
	}
	if n.Driver != "" && n.Made {
		d, err := s.asDriver(ctx, n.Driver)
		if err == nil {
			err = s.tell("DeleteNetwork", string(n.Record.ID), d.DeleteNetwork(ctx, n.Record.ID))
		}
		if err != nil {
			return fmt.Errorf("network %s: %w", n.Record.Name, err)
		}
	}
	return s.journal.dropNetwork(n.Record.ID)
}
