package observe

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/kernel/route"
)

// OnLink lists where the host gets without a gateway, except over links to be skipped, by index. Default routes,
// link-local and multicast prefixes say nothing about who is where.
func OnLink(routes []route.Info, skip map[int]bool) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range routes {
		p := r.Destination
		if r.OnLink() && !skip[r.Index] && p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}
