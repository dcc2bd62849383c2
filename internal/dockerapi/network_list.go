package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/network"
)

func (s *server) listNetworks(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	list, err := s.Networks.List(f)
	if err != nil {
		return err
	}
	if r.version < 28 { // listed every network with its containers
		out := []network.Inspect{}
		for _, v := range list {
			out = append(out, network.Inspect{Network: show(v.Network), Containers: showMembers(v)})
		}
		return writeJSON(w, http.StatusOK, out)
	}
	out := []network.Summary{}
	for _, v := range list {
		out = append(out, network.Summary{Network: show(v.Network)})
	}
	return writeJSON(w, http.StatusOK, out)
}
