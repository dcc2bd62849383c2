package networks

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	hub "github.com/linkspan/linkspan/internal/networks"
)

func (a *api) inspectNetwork(w http.ResponseWriter, r *httpkit.Request) error {
	verbose := false
	if text := r.Query.Get("verbose"); text != "" {
		var err error
		if verbose, err = strconv.ParseBool(text); err != nil {
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
	if verbose {
		out.Services = showServices(v)
	}
	if r.Version >= 52 {
		out.Status = &network.Status{}
		if !v.ConfigOnly {
			out.Status.IPAM.Subnets = subnetStatuses(v)
		}
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

// showServices translates the services on a network over hosts. Docker's number of a load
// balancer has no meaning here: it is that of none.
func showServices(v hub.View) map[string]network.ServiceInfo {
	out := map[string]network.ServiceInfo{}
	for _, s := range v.Services() {
		info := network.ServiceInfo{Ports: []string{}, Tasks: []network.Task{}}
		if len(s.VIPs) > 0 {
			info.VIP = s.VIPs[0]
		}
		for _, p := range s.Ingress {
			info.Ports = append(info.Ports, fmt.Sprintf("Target: %d, Publish: %d", p.Target, p.Published))
		}
		for _, m := range s.Tasks {
			task := network.Task{EndpointID: string(m.Endpoint), Info: map[string]string{"Host IP": m.VTEP.String()}}
			if len(m.Names) > 0 {
				task.Name = m.Names[0]
			}
			if len(m.Addrs) > 0 {
				task.EndpointIP = m.Addrs[0]
			}
			info.Tasks = append(info.Tasks, task)
		}
		out[s.Name] = info
	}
	return out
}

// subnetStatuses translates how far each subnet is used.
func subnetStatuses(v hub.View) network.SubnetStatuses {
	out := network.SubnetStatuses{}
	for _, u := range v.Subnets() {
		out[u.Subnet] = network.SubnetStatus{IPsInUse: u.Used, DynamicIPsAvailable: u.Available}
	}
	return out
}
