package source

import (
	"context"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plugins"
	"github.com/linkspan/linkspan/internal/plugins/netplugin"
)

// replay asks a plugin that has just been activated once more for all that it gave, if it
// says that it forgets that (RequiresRequestReplay).
func (s *Source) replay(ctx context.Context, p *plugins.Plugin) {
	if !slices.Contains(p.Implements, plugins.IpamDriver) {
		return
	}
	i := netplugin.IPAM{Plugin: p}
	if c, err := i.Capabilities(ctx); err != nil || !c.NeedsReplay {
		return
	}
	note := func(what, name string, err error) {
		if err != nil {
			s.log.Warn("a plugin does not give again what it gave", "op", "plugin.replay", "plugin", p.Name, "call", what, "of", name, "err", err)
		}
	}
	for _, n := range s.journal.networks() {
		if n.IPAM != p.Name || n.Leaving || !n.Complete {
			continue
		}
		for at, was := range n.Pools {
			f := model.FamilyOf(was.Subnet.Addr())
			r := netplugin.PoolRequest{AddressSpace: n.Space, Pool: was.Subnet.String(), Options: n.Record.IPAM.Options, V6: f == model.IPv6}
			if was.Range.IsValid() {
				r.SubPool = was.Range.String()
			}
			got, err := i.RequestPool(ctx, r)
			note("RequestPool", n.Record.Name, err)
			if err != nil {
				continue
			}
			s.renamed(n.Record.ID, at, got.ID)
			for _, a := range was.Taken {
				options := map[string]string(nil)
				if a == was.Gateway.Addr() {
					options = map[string]string{netplugin.OptionAddressType: netplugin.OptionGateway}
				}
				_, err := i.RequestAddress(ctx, got.ID, a, options)
				note("RequestAddress", n.Record.Name, err)
			}
		}
	}
	for _, e := range s.journal.endpoints() {
		if e.IPAM != p.Name || e.Leaving || !e.Complete {
			continue
		}
		for _, l := range e.Leases {
			options := map[string]string{netplugin.OptionEndpointName: e.Name}
			if e.Fact.MAC != "" {
				options[netplugin.OptionMAC] = e.Fact.MAC
			}
			_, err := i.RequestAddress(ctx, l.Pool, l.Addr, options)
			note("RequestAddress", e.Name, err)
		}
	}
}

// renamed notes by which ID a plugin knows a subnet now.
func (s *Source) renamed(id model.NetworkID, at int, now string) {
	n, there := s.journal.network(id)
	if !there || at >= len(n.Pools) || n.Pools[at].ID == now {
		return
	}
	was := n.Pools[at].ID
	n.Pools = slices.Clone(n.Pools)
	n.Pools[at].ID = now
	if err := s.journal.putNetwork(n); err != nil {
		s.log.Error("a subnet's new name is not noted", "op", "plugin.replay", "err", err)
	}
	for _, e := range s.journal.endpoints() {
		if e.Network != id {
			continue
		}
		e.Leases = slices.Clone(e.Leases)
		for k := range e.Leases {
			if e.Leases[k].Pool == was {
				e.Leases[k].Pool = now
			}
		}
		if err := s.journal.putEndpoint(e); err != nil {
			s.log.Error("a subnet's new name is not noted", "op", "plugin.replay", "err", err)
		}
	}
}
