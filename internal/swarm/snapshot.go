package swarm

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// on tells whether a container is on the network of its place, with the addresses of
// this place: it may have been there with another since.
func on(s *state.Snapshot, p *place) bool {
	sb, _ := s.SandboxOf(p.container)
	e, there := s.EndpointAt(sb.ID, p.network.ID)
	return there && e.Up && slices.ContainsFunc(p.addrs, func(a netip.Addr) bool { return a.IsValid() && e.Address(model.FamilyOf(a)) == a })
}
