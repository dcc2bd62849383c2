package gateway

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

func TestMembersOrder(t *testing.T) {
	pool := func(subnet, gateway string) []model.Pool {
		return []model.Pool{{Subnet: netip.MustParsePrefix(subnet), Gateway: netip.MustParseAddr(gateway)}}
	}
	tx := state.Begin(state.Empty(), facts.Set{})
	both := append(pool("10.3.0.0/24", "10.3.0.1"), pool("fd00:3::/64", "fd00:3::1")...)
	for _, n := range []model.Network{
		{ID: "n1", Name: "alps", IPv4: true, IPAM: model.IPAM{Pools: pool("10.1.0.0/24", "10.1.0.1")}},
		{ID: "n2", Name: "beach", IPv4: true, IPAM: model.IPAM{Pools: pool("10.2.0.0/24", "10.2.0.1")}},
		{ID: "n3", Name: "zoo", IPv4: true, IPv6: true, IPAM: model.IPAM{Pools: both}},
		{ID: "n4", Name: "inside", IPv4: true, Internal: true, IPAM: model.IPAM{Pools: pool("10.4.0.0/24", "10.4.0.1")}},
	} {
		tx.PutNetwork(n)
		tx.PutEndpoint(model.Endpoint{ID: model.EndpointID("e" + n.ID), Network: n.ID, Sandbox: "s", Up: true,
			Addr4: n.IPAM.Pools[0].Subnet.Addr().Next().Next(), Priority: map[model.NetworkID]int{"n2": 1}[n.ID]})
	}
	members := Members(tx.View(), facts.Set{}, "s")
	var names []string
	for _, m := range members {
		names = append(names, m.Network.Name)
	}
	if want := []string{"beach", "zoo", "alps", "inside"}; !slices.Equal(names, want) {
		t.Errorf("order %v, want %v: priority, families, name, internal last", names, want)
	}
	if m, via, ok := Of(members, model.IPv4); !ok || m.Network.Name != "beach" || via.String() != "10.2.0.1" {
		t.Errorf("gateway %s on %s", via, m.Network.Name)
	}
	if _, _, ok := Of(members, model.IPv6); ok {
		t.Error("a gateway for a family in which no endpoint has an address")
	}
}
