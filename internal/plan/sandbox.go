package plan

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// member is an endpoint that is up, with its network.
type member struct {
	endpoint model.Endpoint
	network  model.Network
}

// sandbox plans what a container has once, however many networks it is on: its
// namespace, its default routes and its resolver.
func (in Input) sandbox(id model.SandboxID) []desired.Row {
	sb, ok := in.Snapshot.Sandbox(id)
	if !ok || !sb.Up || sb.Mode != model.SandboxOwn {
		return nil
	}
	ns := model.NamespaceOf(sb.Container)
	rows := []desired.Row{desired.Namespace{Name: ns}}
	members := in.members(id)
	if slices.ContainsFunc(members, func(m member) bool { return m.network.IPv6 }) {
		rows = append(rows, ipv6Settings(ns)...)
	}
	for _, f := range []model.Family{model.IPv4, model.IPv6} {
		if m, gateway, ok := gatewayOf(members, f); ok {
			rows = append(rows, desired.Route{
				Namespace: ns, Destination: everywhere(f), Gateway: gateway, Link: m.endpoint.Interface,
			})
		}
	}
	if r, ok := in.resolver(sb, members); ok {
		rows = append(rows, r)
	}
	return rows
}

// ipv6Settings are what interfaces of a sandbox begin with. IPAM made every
// address unique, so duplicate address detection (RFC 4862 section 5.4) would
// only delay the start by a second; and no router answers a solicitation
// (section 6.3.7 of RFC 4861), which would be flooded to every port.
func ipv6Settings(ns string) []desired.Row {
	return []desired.Row{
		desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/default/accept_dad", Value: "0"},
		desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/default/router_solicitations", Value: "0"},
	}
}

// members returns the sandbox's endpoints that are up, the one that provides
// the default gateway first (reference: "Default-gateway selection").
func (in Input) members(id model.SandboxID) []member {
	var out []member
	for e := range in.Snapshot.EndpointsOf(id) {
		if n, ok := in.Snapshot.Network(e.Network); ok && e.Up {
			out = append(out, member{e, n})
		}
	}
	slices.SortFunc(out, func(a, b member) int {
		return cmp.Or(
			-cmp.Compare(a.endpoint.Priority, b.endpoint.Priority),
			boolCompare(a.network.Internal, b.network.Internal),
			-cmp.Compare(in.gateways(a.network), in.gateways(b.network)),
			cmp.Compare(a.network.Name, b.network.Name),
		)
	})
	return out
}

// gateways counts the families in which a network leads out.
func (in Input) gateways(n model.Network) int {
	count := 0
	d, err := in.Drivers.Find(n.Driver)
	for _, f := range []model.Family{model.IPv4, model.IPv6} {
		if pool, ok := n.Pool(f); ok && err == nil && d.Traits().Gateway && pool.Gateway.IsValid() && n.Enabled(f) && !n.Internal {
			count++
		}
	}
	return count
}

// gatewayOf picks the member through which family f leaves, and the address
// there. Internal networks lead nowhere.
func gatewayOf(members []member, f model.Family) (member, netip.Addr, bool) {
	for _, m := range members {
		pool, ok := m.network.Pool(f)
		if ok && pool.Gateway.IsValid() && m.endpoint.Address(f).IsValid() && !m.network.Internal {
			if override, set := pool.Aux[overrideKey(f)]; set {
				return m, override, true
			}
			return m, pool.Gateway, true
		}
	}
	return member{}, netip.Addr{}, false
}

// overrideKey names the auxiliary address that is a container's gateway in
// place of the bridge's own address.
func overrideKey(f model.Family) string {
	if f == model.IPv4 {
		return "DefaultGatewayIPv4"
	}
	return "DefaultGatewayIPv6"
}

func everywhere(f model.Family) netip.Prefix {
	if f == model.IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// resolver plans the sandbox's DNS server. There is one as soon as one network
// has names.
func (in Input) resolver(sb model.Sandbox, members []member) (desired.Resolver, bool) {
	r := desired.Resolver{
		Namespace: model.NamespaceOf(sb.Container),
		Servers:   sb.DNS.Servers, NDots: sb.DNS.NDots, Internal: true,
	}
	for _, m := range members {
		r.Internal = r.Internal && m.network.Internal
		if !in.named(m.network) {
			continue
		}
		r.Networks = append(r.Networks, m.network.ID)
		r.Links = append(r.Links, m.endpoint.Links...)
	}
	return r, len(r.Networks) > 0
}

// named tells whether a network's endpoints are found by name: all
// user-defined ones of drivers with names.
func (in Input) named(n model.Network) bool {
	d, err := in.Drivers.Find(n.Driver)
	return err == nil && d.Traits().Names && !n.Predefined()
}

// names returns what an endpoint answers to on its network.
func names(n model.Network, sb model.Sandbox, e model.Endpoint) []desired.Row {
	if n.Predefined() {
		return nil
	}
	var addrs []netip.Addr
	for _, f := range []model.Family{model.IPv4, model.IPv6} {
		if a := e.Address(f); a.IsValid() {
			addrs = append(addrs, a)
		}
	}
	var rows []desired.Row
	for i, name := range model.DNSNames(sb, e) {
		rows = append(rows, desired.Name{
			Network: n.ID, NetworkName: n.Name, Name: name, Endpoint: e.ID, Addrs: addrs, Primary: i == 0,
		})
	}
	return rows
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
