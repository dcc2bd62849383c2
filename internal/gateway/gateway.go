// Package gateway decides by which of its networks a container leaves: where its
// default routes lead, and where its published ports come in.
//
// It is pure: equal snapshots and facts give equal answers.
package gateway

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Member is an endpoint that is up, with its network and what somebody outside has said of
// it.
type Member struct {
	Endpoint model.Endpoint
	Network  model.Network
	Learned  facts.Endpoint
}

// Members returns a sandbox's endpoints that are up, the one that provides the
// default gateway first: by priority, then those that lead out before internal
// ones, then by the number of families in which they do, then by name.
func Members(s *state.Snapshot, known facts.Set, id model.SandboxID) []Member {
	var out []Member
	for e := range s.EndpointsOf(id) {
		if n, ok := s.Network(e.Network); ok && e.Up {
			out = append(out, Member{e, n, known.Endpoint(e.ID)})
		}
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(
			-cmp.Compare(a.Endpoint.Priority, b.Endpoint.Priority),
			model.CompareBool(a.Network.Internal, b.Network.Internal),
			-cmp.Compare(a.families(), b.families()),
			cmp.Compare(a.Network.Name, b.Network.Name),
		)
	})
	return out
}

// families counts those in which a member leads out.
func (m Member) families() int {
	count := 0
	for _, f := range model.Families {
		if _, ok := leased(m, f); ok {
			count++
		}
	}
	if m.Network.Overlay() {
		return count
	}
	for _, f := range model.Families {
		leads := func(p model.Pool) bool { return p.Gateway.IsValid() && model.FamilyOf(p.Gateway) == f }
		if m.Learned.Joined != nil {
			if _, ok := m.Out(f); ok {
				count++
			}
		} else if m.Network.Enabled(f) && !m.Network.Internal && slices.ContainsFunc(m.Network.IPAM.Pools, leads) {
			count++
		}
	}
	return count
}

// Out returns the address through which family f leaves by a member, invalid if it does by
// the interface alone; false if it does not. Of a network whose driver is outside, that
// one's word alone counts; one that reaches over hosts leads to those alone.
func (m Member) Out(f model.Family) (via netip.Addr, ok bool) {
	if m.Network.Internal || m.Network.Overlay() || !m.Endpoint.Address(f).IsValid() {
		return via, false
	}
	said := m.Learned.Gateway(f)
	if j := m.Learned.Joined; j != nil {
		for _, r := range j.Routes {
			if r.Default() && model.FamilyOf(r.Destination.Addr()) == f && !said.IsValid() {
				return r.Via, j.Link != ""
			}
		}
		return said, j.Link != "" && said.IsValid()
	}
	if via, ok := leased(m, f); ok {
		return via, true
	}
	pool, ok := m.Network.PoolOf(m.Endpoint.Address(f))
	if !ok || !pool.Gateway.IsValid() {
		return via, false
	}
	return In(pool, f), true
}

// Of picks the member through which family f leaves, and the address
// there, as Out has it. Internal networks lead nowhere.
func Of(members []Member, f model.Family) (Member, netip.Addr, bool) {
	for _, m := range members {
		if via, ok := m.Out(f); ok {
			return m, via, true
		}
	}
	return Member{}, netip.Addr{}, false
}

// leased returns the gateway that a DHCP server has named, or the router that has named
// itself.
func leased(m Member, f model.Family) (netip.Addr, bool) {
	l := m.Endpoint.Lease(f)
	if l == nil || m.Network.Internal || l.Prefix.Addr() != m.Endpoint.Address(f) {
		return netip.Addr{}, false
	}
	return l.Gateway, l.Gateway.IsValid()
}

// In returns the gateway that containers have by a pool of family f: the
// bridge's own address, unless an auxiliary one takes its place.
func In(pool model.Pool, f model.Family) netip.Addr {
	if override, set := pool.Aux[AuxKey(f)]; set {
		return override
	}
	return pool.Gateway
}

// AuxKey names the auxiliary address that is a container's gateway in place of
// the bridge's own address.
func AuxKey(f model.Family) string {
	if f == model.IPv4 {
		return "DefaultGatewayIPv4"
	}
	return "DefaultGatewayIPv6"
}
