package dockerapi

import (
	"net/http"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/workload"
)

func (s *server) connectNetwork(w http.ResponseWriter, r *request) error {
	var body network.ConnectRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.EndpointConfig != nil && r.version < 54 {
		body.EndpointConfig.MacAddress = nil // was accepted and ignored
	}
	if err := s.Memberships.Connect(r.Context(), body.Container, r.PathValue("id"), body.EndpointConfig); err != nil {
		return err
	}
	return empty(w, http.StatusOK)
}

func (s *server) disconnectNetwork(w http.ResponseWriter, r *request) error {
	var body network.DisconnectRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	if err := s.Memberships.Disconnect(r.Context(), body.Container, r.PathValue("id"), body.Force); err != nil {
		return err
	}
	return empty(w, http.StatusOK)
}

func (s *server) removeNetwork(w http.ResponseWriter, r *request) error {
	n, err := s.Networks.Snapshot().FindNetwork(r.PathValue("id"))
	if err != nil {
		return err
	}
	return done(w, s.dropNetwork(r, n))
}

// dropNetwork removes a network and says so. A template was never there for
// anybody but its makers.
func (s *server) dropNetwork(r *request, n model.Network) error {
	if _, err := s.Networks.Do(r.Context(), ops.RemoveNetwork(string(n.ID))); err != nil {
		return err
	}
	if !n.ConfigOnly {
		s.publishNetwork(events.ActionDestroy, n)
	}
	return nil
}

// pruneNetworks removes the networks that no running container is on.
func (s *server) pruneNetworks(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	if err := f.Check("label", "label!", "until"); err != nil {
		return err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return err
	}
	if !s.pruning.CompareAndSwap(false, true) {
		return model.Errorf(model.Conflict, "a prune operation is already running")
	}
	defer s.pruning.Store(false)
	var report network.PruneReport
	snapshot := s.Networks.Snapshot()
	for _, n := range byAge(snapshot) {
		if !prunable(snapshot, n, f, until) {
			continue
		}
		switch err := s.dropNetwork(r, n); {
		case err == nil:
			report.NetworksDeleted = append(report.NetworksDeleted, n.Name)
		case model.KindOf(err) == model.Internal:
			s.log.Warn("network not pruned", "op", "network.prune", "network", n.Name, "err", err)
		} // else a container came to use it meanwhile
	}
	s.Events.Publish(events.Message{Type: events.NetworkEventType, Action: events.ActionPrune, Actor: events.Actor{
		Attributes: map[string]string{"reclaimed": "0"},
	}})
	return writeJSON(w, http.StatusOK, report)
}

func prunable(s *state.Snapshot, n model.Network, f workload.Filters, until time.Time) bool {
	return !n.Predefined() && !n.ConfigOnly && len(active(s, n.ID)) == 0 &&
		(until.IsZero() || !n.Created.After(until)) && labelsMatch(f, n.Labels)
}
