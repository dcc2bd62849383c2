package swarm

import (
	"slices"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// on tells whether a container is on the network of its place, with the addresses of
// this place: it may have been there with another since.
func on(s *state.Snapshot, p *place) bool {
	for e := range s.EndpointsOn(p.network.ID) {
		sb, ok := s.Sandbox(e.Sandbox)
		if !ok || !e.Up || sb.Container != p.container {
			continue
		}
		for _, f := range model.Families {
			if a := e.Address(f); a.IsValid() && slices.Contains(p.addrs, a) {
				return true
			}
		}
	}
	return false
}
