package firewalltest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
)

// With is a backend beside which another holds its own tables, as it is while nothing is
// lost. It has no model.
func (b Backend) With(held Backend) Backend {
	return Backend{Open: func(t testing.TB, host *namespaces.Namespace) kernel.Firewall {
		return both{b.Open(t, host), held.Open(t, host)}
	}}
}

// both are two firewalls, the second of which is not asked what it has counted.
type both struct {
	kernel.Firewall
	held kernel.Firewall
}

func (b both) Resync(ctx context.Context, want []desired.Row) (desired.Report, error) {
	report, err := b.Firewall.Resync(ctx, want)
	_, held := b.held.Resync(ctx, want)
	return report, errors.Join(err, held)
}

func (b both) Apply(ctx context.Context, deltas []desired.Delta) error {
	return errors.Join(b.Firewall.Apply(ctx, deltas), b.held.Apply(ctx, deltas))
}

// ClosedWithoutRules sends the packet of every case while the tables with the rules are gone
// and there is nothing but what is held: what does not arrive otherwise does not arrive, and
// what arrives without translation does.
func ClosedWithoutRules(t *testing.T, held Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := NewLearnedLab(t, bridgeNetfilter)
			held.Resync(t, l.Host, CaseRows()...)
			all := Cases()
			for id, c := range all {
				l.sendCase(c, id)
				if c.arrives && !c.translated() && l.Arrives(id, c.to) == nil {
					t.Errorf("%s: lost", c)
				}
			}
			l.checkOnlyThere(all)
		})
	}
}

// translated tells whether a case's packet is for a host port.
func (c Case) translated() bool {
	to := PlaceOf(c.to)
	return c.ip != to.IP4 && c.ip != to.IP6
}
