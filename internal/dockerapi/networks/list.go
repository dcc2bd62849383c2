package networks

import (
	"net/http"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

func (a *api) listNetworks(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	list, err := a.Networks.List(r.Context(), f)
	if err != nil {
		return err
	}
	if r.Version < 28 { // listed every network with its containers
		out := []network.Inspect{}
		for _, v := range list {
			out = append(out, network.Inspect{Network: show(v.Network), Containers: showMembers(v)})
		}
		return httpkit.WriteJSON(w, http.StatusOK, out)
	}
	out := []network.Summary{}
	for _, v := range list {
		out = append(out, network.Summary{Network: show(v.Network)})
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}
