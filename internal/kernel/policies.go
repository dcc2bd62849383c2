package kernel

import (
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/conntrack"
)

// policies has desired.KindPolicy made so by the firewall.
type policies struct{ *pass }

// apply hands one half of the policy deltas to the firewall, without those
// whose owner has failed.
func (h policies) apply(deltas []desired.Delta) {
	var todo []desired.Delta
	for _, d := range deltas {
		if !h.skips(d) {
			todo = append(todo, d)
		}
	}
	if len(todo) > 0 {
		h.note(h.k.firewall.Apply(h.ctx, todo))
	}
}

func (h policies) compare(want desired.State, dry bool) (desired.Report, error) {
	var rows []desired.Row
	for o := range want.Kind(desired.KindPolicy) {
		rows = append(rows, o.Row)
	}
	if dry {
		return h.k.firewall.Check(h.ctx, rows)
	}
	report, err := h.k.firewall.Resync(h.ctx, rows)
	if report.Writes > 0 { // while ports were not there, connections went elsewhere
		h.k.flusher.Forget(desired.HostNamespace, conntrack.OfPorts(rows))
	}
	return report, err
}
