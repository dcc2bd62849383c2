package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/network"
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
	return done(w, s.Networks.Remove(r.Context(), r.PathValue("id")))
}

func (s *server) pruneNetworks(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	removed, err := s.Networks.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, network.PruneReport{NetworksDeleted: removed})
}
