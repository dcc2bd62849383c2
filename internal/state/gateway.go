package state

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// Member is an endpoint that is up, with its network.
type Member struct {
	Endpoint model.Endpoint
	Network  model.Network
}

// Members returns a sandbox's endpoints that are up, the one that provides the
// default gateway first: by priority, then those that lead out before internal
// ones, then by the number of families in which they do, then by name.
func (s *Snapshot) Members(id model.SandboxID) []Member {
	var out []Member
	for e := range s.EndpointsOf(id) {
		if n, ok := s.Network(e.Network); ok && e.Up {
			out = append(out, Member{e, n})
		}
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(
			-cmp.Compare(a.Endpoint.Priority, b.Endpoint.Priority),
			cmp.Compare(order(a.Network.Internal), order(b.Network.Internal)),
			-cmp.Compare(gateways(a.Network), gateways(b.Network)),
			cmp.Compare(a.Network.Name, b.Network.Name),
		)
	})
	return out
}

// gateways counts the families in which a network leads out.
func gateways(n model.Network) int {
	count := 0
	for _, f := range []model.Family{model.IPv4, model.IPv6} {
		if pool, ok := n.Pool(f); ok && pool.Gateway.IsValid() && n.Enabled(f) && !n.Internal {
			count++
		}
	}
	return count
}

// GatewayOf picks the member through which family f leaves, and the address
// there. Internal networks lead nowhere.
func GatewayOf(members []Member, f model.Family) (Member, netip.Addr, bool) {
	for _, m := range members {
		pool, ok := m.Network.Pool(f)
		if ok && pool.Gateway.IsValid() && m.Endpoint.Address(f).IsValid() && !m.Network.Internal {
			return m, GatewayIn(pool, f), true
		}
	}
	return Member{}, netip.Addr{}, false
}

// GatewayIn returns the gateway that containers have by a pool of family f: the
// bridge's own address, unless an auxiliary one takes its place.
func GatewayIn(pool model.Pool, f model.Family) netip.Addr {
	if override, set := pool.Aux[GatewayKey(f)]; set {
		return override
	}
	return pool.Gateway
}

// GatewayKey names the auxiliary address that is a container's gateway in place of
// the bridge's own address.
func GatewayKey(f model.Family) string {
	if f == model.IPv4 {
		return "DefaultGatewayIPv4"
	}
	return "DefaultGatewayIPv6"
}

func order(last bool) int {
	if last {
		return 1
	}
	return 0
}
