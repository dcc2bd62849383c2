package dockerapi

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
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

// byAge returns all networks, the oldest first.
func byAge(s *state.Snapshot) []model.Network {
	return slices.SortedFunc(s.Networks(), func(a, b model.Network) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	})
}

// active yields the endpoints of a network that are up, with their sandboxes.
func active(s *state.Snapshot, id model.NetworkID) map[model.EndpointID]member {
	out := map[model.EndpointID]member{}
	for e := range s.EndpointsOn(id) {
		if sb, ok := s.Sandbox(e.Sandbox); ok && e.Up {
			out[e.ID] = member{e, sb}
		}
	}
	return out
}

// member is an endpoint with the sandbox that it belongs to.
type member struct {
	endpoint model.Endpoint
	sandbox  model.Sandbox
}

// show translates what is the network's own.
func show(n model.Network) network.Network {
	out := network.Network{
		Name: n.Name, ID: string(n.ID), Created: n.Created, Scope: n.Scope, Driver: n.Driver,
		EnableIPv4: n.IPv4, EnableIPv6: n.IPv6, Internal: n.Internal, Attachable: n.Attachable,
		ConfigFrom: network.ConfigReference{Network: n.ConfigFrom}, ConfigOnly: n.ConfigOnly,
		IPAM: network.IPAM{
			Driver: cmp.Or(n.IPAM.Driver, "default"), Options: n.IPAM.Options, // null unless given
		},
		Options: neverNull(n.Options), Labels: neverNull(n.Labels),
	}
	if out.Scope == "" {
		out.Scope = "local"
	}
	for _, p := range n.IPAM.Pools {
		out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{
			Subnet: p.Subnet, IPRange: p.Range, Gateway: p.Gateway, AuxAddress: maps.Clone(p.Aux),
		})
	}
	return out
}

// showMembers translates the containers of a network, by their IDs.
func showMembers(s *state.Snapshot, n model.Network) map[string]network.EndpointResource {
	out := map[string]network.EndpointResource{}
	for id, m := range active(s, n.ID) {
		key := string(m.sandbox.Container)
		if key == "" {
			key = "ep-" + string(id)
		}
		out[key] = network.EndpointResource{
			Name: m.sandbox.Name, EndpointID: string(id), MacAddress: hardware(m.endpoint.MAC),
			IPv4Address: withLength(n, m.endpoint.Addr4), IPv6Address: withLength(n, m.endpoint.Addr6),
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

// newID returns 64 random hexadecimal digits.
func newID() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	return hex.EncodeToString(raw[:])
}

// publishNetwork says what happened to a network.
func (s *server) publishNetwork(action events.Action, n model.Network) {
	s.Events.Publish(events.Message{Type: events.NetworkEventType, Action: action, Actor: events.Actor{
		ID: string(n.ID), Attributes: map[string]string{"name": n.Name, "type": n.Driver},
	}})
}
