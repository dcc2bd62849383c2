package dockerapi

import (
	"cmp"
	"maps"
	"net/netip"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
)

func (s *server) networkRoutes() []route {
	return []route{
		{"GET /networks", s.listNetworks},
		{"GET /networks/{$}", s.listNetworks},
		{"GET /networks/{id...}", s.inspectNetwork},
		{"POST /networks/create", s.createNetwork},
		{"POST /networks/prune", s.pruneNetworks},
		{"POST /networks/{id}/connect", s.connectNetwork},
		{"POST /networks/{id}/disconnect", s.disconnectNetwork},
		{"DELETE /networks/{id...}", s.removeNetwork},
	}
}

// show translates what is the network's own.
func show(n model.Network) network.Network {
	out := network.Network{
		Name: n.Name, ID: string(n.ID), Created: n.Created, Scope: networks.Scope(n), Driver: n.Driver,
		EnableIPv4: n.IPv4, EnableIPv6: n.IPv6, Internal: n.Internal, Attachable: n.Attachable,
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
func showMembers(v networks.View) map[string]network.EndpointResource {
	out := map[string]network.EndpointResource{}
	for _, m := range v.Members() {
		key := string(m.Sandbox.Container)
		if key == "" {
			key = "ep-" + string(m.Endpoint.ID)
		}
		out[key] = network.EndpointResource{
			Name: m.Sandbox.Name, EndpointID: string(m.Endpoint.ID), MacAddress: hardware(m.Endpoint.MAC),
			IPv4Address: withLength(v.Network, m.Endpoint.Addr4), IPv6Address: withLength(v.Network, m.Endpoint.Addr6),
		}
	}
	return out
}

// withLength returns an address with the length of the subnet that it is in.
func withLength(n model.Network, a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	for _, p := range n.IPAM.Pools {
		if p.Subnet.Contains(a) {
			return netip.PrefixFrom(a, p.Subnet.Bits())
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

func hardware(mac string) network.HardwareAddr {
	var out network.HardwareAddr
	if out.UnmarshalText([]byte(mac)) != nil {
		return nil // was checked when it was asked for
	}
	return out
}

func neverNull(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
