package networks

import (
	"context"
	"time"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
	"github.com/linkspan/linkspan/internal/state"
)

// Prune removes the networks that no running container is on and that meet all
// filters (label, label!, until), and returns their names. Errors: Invalid for a
// filter; Conflict while another prune runs.
func (m *Manager) Prune(ctx context.Context, f query.Filters) ([]string, error) {
	if err := f.Check("label", "label!", "until"); err != nil {
		return nil, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return nil, err
	}
	if !m.pruning.CompareAndSwap(false, true) {
		return nil, model.Errorf(model.Conflict, "a prune operation is already running")
	}
	defer m.pruning.Store(false)
	var removed []string
	snapshot := m.engine.Snapshot()
	for _, n := range ByAge(snapshot) {
		if !prunable(snapshot, n, f, until) {
			continue
		}
		switch err := m.remove(ctx, n); {
		case err == nil:
			removed = append(removed, n.Name)
		case model.KindOf(err) == model.Internal:
			m.log.Warn("network not pruned", "op", "network.prune", "network", n.Name, "err", err)
		} // else a container came to use it meanwhile
	}
	removed = append(removed, m.pruneSwarm(ctx, func(n model.Network) bool {
		return (until.IsZero() || !n.Created.After(until)) && f.MatchAllLabels(n.Labels)
	})...)
	m.events.Publish(events.Pruned(dockerevents.NetworkEventType, 0))
	return removed, nil
}

func prunable(s *state.Snapshot, n model.Network, f query.Filters, until time.Time) bool {
	return !n.Predefined() && n.Scope != model.ScopeSwarm && !n.ConfigOnly && idle(s, n) && (until.IsZero() || !n.Created.After(until)) && f.MatchAllLabels(n.Labels)
}
