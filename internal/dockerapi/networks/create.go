package networks

import (
	"maps"
	"net/http"
	"net/netip"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	hub "github.com/linkspan/linkspan/internal/networks"
)

func (a *api) createNetwork(w http.ResponseWriter, r *httpkit.Request) error {
	var body network.CreateRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if body.Ingress && !body.ConfigOnly && body.Driver != model.DriverOverlay {
		return model.Errorf(model.Forbidden, "Ingress network can only be global scope network")
	}
	if r.Version < 48 {
		body.EnableIPv4 = nil // the field did not exist
	}
	n, err := a.Networks.Create(r.Context(), networkFrom(body))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, network.CreateResponse{ID: string(n.ID)})
}

// networkFrom translates a request; whether it makes sense is for the hub to say.
func networkFrom(body network.CreateRequest) hub.CreateRequest {
	n, explicit := model.Network{
		Name: body.Name, Driver: body.Driver, Scope: body.Scope, IPv4: true,
		Internal: body.Internal, Attachable: body.Attachable, Ingress: body.Ingress, ConfigOnly: body.ConfigOnly,
		Options: maps.Clone(body.Options), Labels: maps.Clone(body.Labels),
	}, []model.Family(nil)
	if body.EnableIPv4 != nil {
		n.IPv4, explicit = *body.EnableIPv4, append(explicit, model.IPv4)
	}
	if body.EnableIPv6 != nil {
		n.IPv6, explicit = *body.EnableIPv6, append(explicit, model.IPv6)
	}
	if body.Ingress {
		n.Scope = "swarm"
	}
	if body.ConfigFrom != nil {
		n.ConfigFrom = body.ConfigFrom.Network
	}
	if body.IPAM == nil {
		return hub.CreateRequest{Network: n, Explicit: explicit}
	}
	n.IPAM = model.IPAM{Driver: body.IPAM.Driver, Options: maps.Clone(body.IPAM.Options)}
	for _, c := range body.IPAM.Config {
		p := model.Pool{Subnet: unmap(c.Subnet), Range: unmap(c.IPRange), Gateway: c.Gateway.Unmap(), Aux: maps.Clone(c.AuxAddress)}
		for name, a := range p.Aux {
			p.Aux[name] = a.Unmap()
		}
		if p.Subnet.IsValid() || p.Range.IsValid() || p.Gateway.IsValid() || len(p.Aux) > 0 {
			n.IPAM.Pools = append(n.IPAM.Pools, p) // one that says nothing asks for nothing
		}
	}
	return hub.CreateRequest{Network: n, Explicit: explicit}
}

// unmap returns the IPv4 prefix that an IPv6 one stands for (RFC 4291, section
// 2.5.5.2), or p itself.
func unmap(p netip.Prefix) netip.Prefix {
	if bits := p.Bits() - 96; p.Addr().Is4In6() && bits >= 0 {
		return netip.PrefixFrom(p.Addr().Unmap(), bits)
	}
	return p
}
