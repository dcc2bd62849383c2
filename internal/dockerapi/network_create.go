package dockerapi

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

func (s *server) createNetwork(w http.ResponseWriter, r *request) error {
	var body network.CreateRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	if body.Ingress && !body.ConfigOnly && body.Driver != "overlay" {
		return model.Errorf(model.Forbidden, "Ingress network can only be global scope network")
	}
	if r.version < 48 {
		body.EnableIPv4 = nil // the field did not exist
	}
	n, explicit := networkFrom(body)
	n.ID, n.Created = model.NetworkID(newID()), time.Now().UTC()
	// A subnet that nobody asked for must not overlap a route the host has now.
	if err := s.Networks.Observe(r.Context()); err != nil {
		return err
	}
	snapshot, err := s.Networks.Do(r.Context(), s.Networks.Networks().Create(n, explicit...))
	if err != nil {
		return withoutOwner(err)
	}
	if made, ok := snapshot.Network(n.ID); ok {
		n = made
	}
	s.publishNetwork(events.ActionCreate, n)
	return writeJSON(w, http.StatusCreated, network.CreateResponse{ID: string(n.ID)})
}

// withoutOwner returns the refusal of the one object of the kernel that could not
// be as the request had it: the request made that object, so there is no need to
// say to whom it belongs.
func withoutOwner(err error) error {
	var failure *desired.Failure
	var cause *model.Error
	if errors.As(err, &failure) && errors.As(failure.Err, &cause) && model.KindOf(cause) != model.Internal {
		return cause
	}
	return err
}

// networkFrom translates a request, and returns the families that it switches on
// or off; whether it makes sense is for the op to say.
func networkFrom(body network.CreateRequest) (n model.Network, explicit []model.Family) {
	n = model.Network{
		Name: body.Name, Driver: body.Driver, Scope: body.Scope, IPv4: true,
		Internal: body.Internal, Attachable: body.Attachable, ConfigOnly: body.ConfigOnly,
		Options: maps.Clone(body.Options), Labels: maps.Clone(body.Labels),
	}
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
		return n, explicit
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
	return n, explicit
}

// unmap returns the IPv4 prefix that an IPv6 one stands for (RFC 4291, section
// 2.5.5.2), or p itself.
func unmap(p netip.Prefix) netip.Prefix {
	if bits := p.Bits() - 96; p.Addr().Is4In6() && bits >= 0 {
		return netip.PrefixFrom(p.Addr().Unmap(), bits)
	}
	return p
}
