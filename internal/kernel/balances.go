package kernel

import (
	"context"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/conntrack"
	"github.com/linkspan/linkspan/internal/kernel/part"
)

// Balancer makes the rows of desired.KindBalance so in the namespace of a descriptor. Its
// methods are otherwise those of Firewall.
type Balancer interface {
	Apply(ctx context.Context, netns int, deltas []desired.Delta) error
	Resync(ctx context.Context, netns int, want []desired.Row) (desired.Report, error)
	Check(ctx context.Context, netns int, want []desired.Row) (desired.Report, error)
}

// balances has desired.KindBalance made so by the balancer.
type balances struct{ *pass }

func handleBalances(p *pass) handler {
	h := balances{p}
	return handler{name: "balances", find: h.findAll, put: h.put, drop: h.drop}
}

// findAll looks where something is wanted, and where something may be left over: on
// networks over hosts. Of what is wanted in a namespace all is wrong or nothing.
func (h balances) findAll(want desired.State) (wrong, strays []desired.Delta) {
	tunnels := part.Tunnels(want)
	return h.inEach("balances", desired.KindBalance, func(g group) (f found, err error) {
		if len(g.deltas)+len(tunnels[g.space]) == 0 {
			return f, nil
		}
		err = h.in(g.space, func(s *space) error {
			report, err := h.k.balancer.Check(h.ctx, int(s.file.Fd()), desired.Wanted(g.deltas))
			for _, why := range report.Drift[:min(len(report.Drift), 1)] { // one will do
				for _, d := range g.deltas {
					f.check(d, why)
				}
				if len(g.deltas) == 0 {
					f.stray(desired.HostOwner, desired.Balance{Namespace: g.space})
				}
			}
			return err
		})
		return f, err
	})(want)
}

func (h balances) put(g group) {
	if !h.repair {
		h.each(g, h.apply)
		return
	}
	h.note(h.in(g.space, func(s *space) error {
		report, err := h.k.balancer.Resync(h.ctx, int(s.file.Fd()), desired.Wanted(g.deltas))
		h.k.writes.Add(int64(report.Writes))
		return err
	}))
}

func (h balances) drop(g group) {
	if !h.repair {
		h.eachGone(g, h.apply)
		return
	}
	h.put(group{space: g.space}) // what is wanted there is nothing
}

func (h balances) apply(s *space, d desired.Delta) error {
	h.k.flusher.Forget(s.name, conntrack.OfBackends(d))
	return h.k.balancer.Apply(h.ctx, int(s.file.Fd()), []desired.Delta{d})
}
