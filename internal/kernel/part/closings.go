package part

import (
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
)

// Closings parts removals of policies: those of what lets something in come first in a
// pass, so that what goes is closed before it goes, and what takes a place finds it
// free. So does a subnet in whose place another comes: the kernel takes no two that
// overlap. Any other subnet goes last, lest a packet leave with a container's address.
func Closings(drop, put []desired.Delta) (closing, rest []desired.Delta) {
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
