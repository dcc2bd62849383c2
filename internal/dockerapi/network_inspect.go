package dockerapi

import (
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
)

func (s *server) inspectNetwork(w http.ResponseWriter, r *request) error {
	if text := r.query.Get("verbose"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			return model.Errorf(model.Invalid, "invalid value for verbose: %s", text)
		}
	}
	term := r.PathValue("id")
	v, err := s.Networks.Find(term)
	if err != nil {
		return err
	}
	out := network.Inspect{Network: show(v.Network), Containers: showMembers(v)}
	if scope := r.query.Get("scope"); scope != "" && scope != out.Scope {
		return model.Errorf(model.NotFound, "network %s not found", term)
	}
	if r.version >= 52 {
		out.Status = &network.Status{}
		if !v.ConfigOnly {
			out.Status.IPAM.Subnets = subnetStatuses(v)
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// subnetStatuses translates how far each subnet is used.
func subnetStatuses(v networks.View) network.SubnetStatuses {
	out := network.SubnetStatuses{}
	for _, u := range v.Subnets() {
		out[u.Subnet] = network.SubnetStatus{IPsInUse: u.Used, DynamicIPsAvailable: u.Available}
	}
	return out
}
