package kernel

import (
	"slices"

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

// closings are the removals of policies that let something in. They come first
// in a pass: what goes is closed before it goes, and what takes a place finds it
// free. So does a subnet in whose place another comes: the kernel takes no two that
// overlap. Any other subnet goes last, lest a packet leave with a container's address.
func closings(drop, put []desired.Delta) (closing, rest []desired.Delta) {
	for _, d := range drop {
		early := false
		switch row := d.Old.(type) {
		case desired.Allow, desired.Publish, desired.Direct, desired.DirectICMP, desired.DirectFrom, desired.AcceptMark:
			early = true
		case desired.Masquerade:
			early = slices.ContainsFunc(put, func(d desired.Delta) bool {
				other, ok := d.New.(desired.Masquerade)
				return ok && other.Subnet.Overlaps(row.Subnet)
			})
		}
		if early {
			closing = append(closing, d)
		} else {
			rest = append(rest, d)
		}
	}
	return closing, rest
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
		stale := map[desired.Publish]conntrack.Change{}
		for _, row := range rows {
			if p, ok := row.(desired.Publish); ok {
				stale[p] = conntrack.Published
			}
		}
		h.k.flusher.Forget(conntrack.Stale{Ports: stale})
	}
	return report, err
}
