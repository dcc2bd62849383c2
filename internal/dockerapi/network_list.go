package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/workload"
)

func (s *server) listNetworks(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	snapshot := s.Networks.Snapshot()
	keep, err := networkFilter(snapshot, f)
	if err != nil {
		return err
	}
	if r.version < 28 { // listed every network with its containers
		out := []network.Inspect{}
		for _, n := range byAge(snapshot) {
			if keep(n) {
				out = append(out, network.Inspect{Network: show(n), Containers: showMembers(snapshot, n)})
			}
		}
		return writeJSON(w, http.StatusOK, out)
	}
	out := []network.Summary{}
	for _, n := range byAge(snapshot) {
		if keep(n) {
			out = append(out, network.Summary{Network: show(n)})
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// networkFilter returns what tells whether a network meets all filters.
func networkFilter(s *state.Snapshot, f workload.Filters) (func(model.Network) bool, error) {
	if err := f.Check("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	dangling, wantsDangling, err := unused(f)
	if err != nil {
		return nil, err
	}
	for _, kind := range f["type"] {
		if kind != "builtin" && kind != "custom" {
			return nil, model.Errorf(model.Invalid, "invalid filter: 'type'='%s'", kind)
		}
	}
	return func(n model.Network) bool {
		kind := "custom"
		if n.Predefined() {
			kind = "builtin"
		}
		if !f.MatchExact("driver", n.Driver) || !f.MatchExact("scope", show(n).Scope) || !f.MatchExact("type", kind) ||
			!f.MatchPattern("id", string(n.ID)) || !f.MatchPattern("name", n.Name) || !f.MatchLabels("label", n.Labels) {
			return false
		}
		return !wantsDangling || dangling == (!n.Predefined() && len(active(s, n.ID)) == 0)
	}, nil
}
