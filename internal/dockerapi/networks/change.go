package networks

import (
	"net/http"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

func (a *api) connectNetwork(w http.ResponseWriter, r *httpkit.Request) error {
	var body network.ConnectRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if body.EndpointConfig != nil && r.Version < 54 {
		body.EndpointConfig.MacAddress = nil // was accepted and ignored
	}
	if err := a.Memberships.Connect(r.Context(), body.Container, r.PathValue("id"), body.EndpointConfig); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) disconnectNetwork(w http.ResponseWriter, r *httpkit.Request) error {
	var body network.DisconnectRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if err := a.Memberships.Disconnect(r.Context(), body.Container, r.PathValue("id"), body.Force); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) removeNetwork(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Networks.Remove(r.Context(), r.PathValue("id")))
}

func (a *api) pruneNetworks(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	removed, err := a.Networks.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, network.PruneReport{NetworksDeleted: removed})
}
