package networks

import (
	"context"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
	"github.com/linkspan/linkspan/internal/state"
)

// Find returns the network of a name, an ID or the beginning of an ID, of a scope unless
// that is empty. Errors: NotFound; Invalid if it is ambiguous.
func (m *Manager) Find(ctx context.Context, ref, scope string) (View, error) {
	n, err := m.find(ctx, ref, scope)
	known := m.engine.Facts().Overlay(n.ID)
	return View{n, m.engine.Snapshot(), known.Peers, known}, err
}

// Endpoint returns the endpoint of an ID.
func (m *Manager) Endpoint(id model.EndpointID) (model.Endpoint, bool) {
	return m.engine.Snapshot().Endpoint(id)
}

// List returns the networks that meet all filters, the oldest first. Errors: Invalid
// for a filter.
func (m *Manager) List(ctx context.Context, f query.Filters) ([]View, error) {
	s := m.engine.Snapshot()
	keep, err := filter(s, f)
	if err != nil {
		return nil, err
	}
	var out []View
	all, err := m.all(ctx)
	if err != nil { // what is here is shown all the same
		m.log.Info("the networks of the swarm are not known", "op", "network.list", "err", err)
	}
	for _, n := range all {
		if keep(n) {
			out = append(out, View{n, s, nil, facts.Overlay{}})
		}
	}
	return out, nil
}

// filter returns what tells whether a network meets all filters.
func filter(s *state.Snapshot, f query.Filters) (func(model.Network) bool, error) {
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
		if !f.MatchExact("driver", n.Driver) || !f.MatchExact("scope", Scope(n)) || !f.MatchExact("type", kind) ||
			!f.MatchPattern("id", string(n.ID)) || !f.MatchPattern("name", n.Name) || !f.MatchLabels("label", n.Labels) {
			return false
		}
		return !wantsDangling || dangling == (!n.Predefined() && idle(s, n))
	}, nil
}

// unused reads the filter "dangling" of networks, for which Docker has words of
// its own; given is false if it is not there.
func unused(f query.Filters) (value, given bool, err error) {
	if len(f["dangling"]) > 1 {
		return false, false, model.Errorf(model.Invalid, `got more than one value for filter key "dangling"`)
	}
	if !f.Has("dangling") {
		return false, false, nil
	}
	if value, given, err = f.Bool("dangling"); err != nil {
		return false, false, model.Errorf(model.Invalid, `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`)
	}
	return value, given, nil
}

// Scope returns how far a network reaches: those of before it was written down are
// of one host.
func Scope(n model.Network) string {
	if n.Scope == "" {
		return "local"
	}
	return n.Scope
}
