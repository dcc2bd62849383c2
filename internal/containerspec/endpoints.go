package containerspec

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// EndpointSpec translates one membership for an endpoint of the given ID; s may be
// nil.
func EndpointSpec(id model.EndpointID, networkRef string, s *network.EndpointSettings) ops.EndpointSpec {
	out := ops.EndpointSpec{ID: id, Network: networkRef}
	if s == nil {
		return out
	}
	if s.IPAMConfig != nil {
		out.IPv4, out.IPv6 = s.IPAMConfig.IPv4Address, s.IPAMConfig.IPv6Address
		out.LinkLocal = slices.Clone(s.IPAMConfig.LinkLocalIPs)
	}
	if len(s.MacAddress) > 0 {
		out.MAC = s.MacAddress.String()
	}
	out.Aliases, out.Priority, out.DriverOpts = slices.Clone(s.Aliases), s.GwPriority, maps.Clone(s.DriverOpts)
	out.Links = privateNames(s.Links)
	return out
}

// privateNames reads the links of a membership, "target" or "target:alias".
func privateNames(links []string) []model.Link {
	var out []model.Link
	for _, link := range links {
		target, alias, ok := strings.Cut(link, ":")
		if !ok {
			alias = target
		}
		out = append(out, model.Link{Target: target, Alias: alias})
	}
	return out
}
