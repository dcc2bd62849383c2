// Package networks has the handlers of networks.
//
// It translates between the API and the hub of networks, and decides nothing.
package networks

import (
	"cmp"
	"context"
	"maps"
	"net/netip"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	hub "github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/query"
)

// Networks makes, shows and removes networks.
type Networks interface {
	Create(ctx context.Context, r hub.CreateRequest) (model.Network, error)
	// Find returns a network, of a scope unless that is empty.
	Find(ctx context.Context, ref, scope string) (hub.View, error)
	// List returns the networks that meet all filters, the oldest first.
	List(ctx context.Context, f query.Filters) ([]hub.View, error)
	Remove(ctx context.Context, ref string) error
	// Prune returns the names of the networks that it removed.
	Prune(ctx context.Context, f query.Filters) ([]string, error)
}

// Memberships lets containers join and leave networks.
type Memberships interface {
	Connect(ctx context.Context, ref, networkRef string, e *network.EndpointSettings) error
	Disconnect(ctx context.Context, ref, networkRef string, force bool) error
}

type api struct {
	Networks    Networks
	Memberships Memberships
}

// Routes returns the handlers of networks.
func Routes(n Networks, m Memberships) httpkit.Routes {
	a := &api{n, m}
	return httpkit.Routes{
		"GET /networks":                  a.listNetworks,
		"GET /networks/{$}":              a.listNetworks,
		"GET /networks/{id...}":          a.inspectNetwork,
		"POST /networks/create":          a.createNetwork,
		"POST /networks/prune":           a.pruneNetworks,
		"POST /networks/{id}/connect":    a.connectNetwork,
		"POST /networks/{id}/disconnect": a.disconnectNetwork,
		"DELETE /networks/{id...}":       a.removeNetwork,
	}
}

// show translates what is the network's own.
func show(n model.Network) network.Network {
	out := network.Network{
		Name: n.Name, ID: string(n.ID), Created: n.Created, Scope: hub.Scope(n), Driver: n.Driver,
		EnableIPv4: n.IPv4, EnableIPv6: n.IPv6, Internal: n.Internal, Attachable: n.Attachable, Ingress: n.Ingress,
		ConfigFrom: network.ConfigReference{Network: n.ConfigFrom}, ConfigOnly: n.ConfigOnly,
		IPAM: network.IPAM{
			Driver: cmp.Or(n.IPAM.Driver, "default"), Options: n.IPAM.Options, // null unless given
		},
		Options: neverNull(n.Options), Labels: neverNull(n.Labels),
	}
	for _, p := range n.IPAM.Pools {
		out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{
			Subnet: p.Subnet, IPRange: p.Range, Gateway: p.Gateway, AuxAddress: maps.Clone(p.Aux),
		})
	}
	return out
}

// showMembers translates the containers of a network, by their IDs.
func showMembers(v hub.View) map[string]network.EndpointResource {
	out := map[string]network.EndpointResource{}
	for _, m := range v.Members() {
		key := cmp.Or(string(m.Sandbox.Container), "ep-"+string(m.Endpoint.ID))
		if m.Sandbox.Ingress != "" {
			key = m.Sandbox.Name // as with Docker: it is no container
		}
		out[key] = network.EndpointResource{
			Name: m.Name(), EndpointID: string(m.Endpoint.ID), MacAddress: containerview.HardwareAddr(m.Endpoint.MAC),
			IPv4Address: withLength(v.Network, m.Endpoint, model.IPv4), IPv6Address: withLength(v.Network, m.Endpoint, model.IPv6),
		}
	}
	return out
}

// withLength returns an endpoint's address of family f with the length of the subnet that
// it is in.
func withLength(n model.Network, e model.Endpoint, f model.Family) netip.Prefix {
	a := e.Address(f)
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return driver.PrefixOf(n, e, a)
}

func neverNull(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
