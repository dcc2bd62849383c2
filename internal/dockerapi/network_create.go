package dockerapi

import (
	"maps"
	"net/http"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

func (s *server) createNetwork(w http.ResponseWriter, r *request) error {
	var body network.CreateRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.Ingress {
		return model.Errorf(model.Unavailable, "%s", notManager)
	}
	if body.Scope != "" && body.Scope != "local" {
		return model.Errorf(model.Forbidden, "cannot create a swarm scoped network when swarm is not active")
	}
	if r.version < 48 {
		body.EnableIPv4 = nil // the field did not exist
	}
	n := networkFrom(body)
	n.ID, n.Created = model.NetworkID(newID()), time.Now().UTC()
	// A subnet that nobody asked for must not overlap a route the host has now.
	if err := s.Networks.Observe(r.Context()); err != nil {
		return err
	}
	snapshot, err := s.Networks.Do(r.Context(), s.Networks.Networks().Create(n))
	if err != nil {
		return err
	}
	if made, ok := snapshot.Network(n.ID); ok {
		n = made
	}
	s.publishNetwork(events.ActionCreate, n)
	return writeJSON(w, http.StatusCreated, network.CreateResponse{ID: string(n.ID)})
}

// networkFrom translates a request; whether it makes sense is for the op to say.
func networkFrom(body network.CreateRequest) model.Network {
	n := model.Network{
		Name: body.Name, Driver: body.Driver, Scope: "local", IPv4: true,
		Internal: body.Internal, Attachable: body.Attachable, ConfigOnly: body.ConfigOnly,
		Options: maps.Clone(body.Options), Labels: maps.Clone(body.Labels),
	}
	if body.EnableIPv4 != nil {
		n.IPv4 = *body.EnableIPv4
	}
	if body.EnableIPv6 != nil {
		n.IPv6 = *body.EnableIPv6
	}
	if body.ConfigFrom != nil {
		n.ConfigFrom = body.ConfigFrom.Network
	}
	if body.IPAM == nil {
		return n
	}
	n.IPAM = model.IPAM{Driver: body.IPAM.Driver, Options: maps.Clone(body.IPAM.Options)}
	for _, c := range body.IPAM.Config {
		n.IPAM.Pools = append(n.IPAM.Pools, model.Pool{
			Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway, Aux: maps.Clone(c.AuxAddress),
		})
	}
	return n
}
