package networks

import (
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	hub "github.com/linkspan/linkspan/internal/networks"
)

func (a *api) inspectNetwork(w http.ResponseWriter, r *httpkit.Request) error {
	if text := r.Query.Get("verbose"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			return model.Errorf(model.Invalid, "invalid value for verbose: %s", text)
		}
	}
	term := r.PathValue("id")
	v, err := a.Networks.Find(r.Context(), term, r.Query.Get("scope"))
	if err != nil {
		return err
	}
	out := network.Inspect{Network: show(v.Network), Containers: showMembers(v)}
	for _, p := range v.Peers {
		out.Peers = append(out.Peers, network.PeerInfo{Name: p.Name, IP: p.Addr})
	}
	if r.Version >= 52 {
		out.Status = &network.Status{}
		if !v.ConfigOnly {
			out.Status.IPAM.Subnets = subnetStatuses(v)
		}
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// subnetStatuses translates how far each subnet is used.
func subnetStatuses(v hub.View) network.SubnetStatuses {
	out := network.SubnetStatuses{}
	for _, u := range v.Subnets() {
		out[u.Subnet] = network.SubnetStatus{IPsInUse: u.Used, DynamicIPsAvailable: u.Available}
	}
	return out
}
