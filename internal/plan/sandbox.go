package plan

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// sandbox plans what a container has once, however many networks it is on: its
// namespace, its default routes, its resolver and its published ports.
func (in Input) sandbox(id model.SandboxID) ([]desired.Row, error) {
	sb, ok := in.Snapshot.Sandbox(id)
	if !ok || !sb.Up || sb.Mode != model.SandboxOwn {
		return nil, nil
	}
	ns := model.NamespaceOf(sb.Container)
	var rows []desired.Row
	if sb.Ingress == "" { // else the network has made it
		rows = append(rows, namespace(ns, sb))
	}
	members := gateway.Members(in.Snapshot, in.Facts, id)
	if slices.ContainsFunc(members, func(m gateway.Member) bool { return m.Network.IPv6 }) {
		rows = append(rows, ipv6Settings(ns)...)
	}
	for _, f := range model.Families {
		if r, ok := in.defaultRoute(members, f); ok && !hasWayOut(sb, f) {
			r.Namespace = ns
			rows = append(rows, r)
			if sb.Ingress != "" {
				rows = append(rows, answersByGate(r, f)...)
			}
		}
	}
	rows = append(rows, leasedRoutes(ns, members)...)
	rows = append(rows, staticRoutes(ns, members)...)
	if r, ok := in.resolver(sb, members); ok && sb.Ingress == "" {
		rows = append(rows, r)
	}
	linked, err := in.linked(sb, members)
	if err != nil {
		return nil, err
	}
	published, err := in.published(sb, members)
	return slices.Concat(rows, linked, in.elsewhere(sb, members), published), err
}

// namespace plans the namespace of a sandbox: one of our own, or a guest's.
func namespace(name string, sb model.Sandbox) desired.Namespace {
	row := desired.Namespace{Name: name}
	if g := sb.Guest; g != nil {
		row.Of = desired.Lent{Path: g.Path, Device: g.Device, Inode: g.Inode}
	}
	return row
}

// answersByGate has answers of connections that came in by the gate leave by it, wherever
// else their clients' addresses lead, and lets them come in though these lead elsewhere.
func answersByGate(out desired.Route, f model.Family) []desired.Row {
	rows := []desired.Row{desired.Lookup{Namespace: out.Namespace, Family: f, Mark: desired.GateMark, Table: desired.GateMark}}
	if f == model.IPv4 {
		rows = append(rows, desired.Sysctl{Namespace: out.Namespace, Path: "net/ipv4/conf/" + out.Link + "/rp_filter", Value: "0"})
	}
	out.Table = desired.GateMark
	return append(rows, out)
}

// hasWayOut tells whether a sandbox is a guest's that had a way out of family f before.
func hasWayOut(sb model.Sandbox, f model.Family) bool {
	return sb.Guest != nil && (f == model.IPv4 && sb.Guest.Out4 || f == model.IPv6 && sb.Guest.Out6)
}

// defaultRoute plans the way out of family f: a gateway, or on networks that lead out
// without one the interface alone.
func (in Input) defaultRoute(members []gateway.Member, f model.Family) (desired.Route, bool) {
	all := netip.PrefixFrom(f.Unspecified(), 0)
	for i, m := range members {
		if in.Drivers.LeadsOut(m.Network) && m.Endpoint.Address(f).IsValid() {
			return desired.Route{Destination: all, Link: m.Endpoint.Interface}, true
		}
		if _, via, ok := gateway.Of(members[i:i+1], f); ok {
			return desired.Route{Destination: all, Link: m.Endpoint.Interface, Gateway: via}, true
		}
	}
	return desired.Route{}, false
}

// leasedRoutes plans the routes that DHCP servers name. Of several to one destination that
// of the first network counts.
func leasedRoutes(ns string, members []gateway.Member) []desired.Row {
	var rows []desired.Row
	seen := map[netip.Prefix]bool{}
	for _, m := range members {
		if m.Endpoint.Lease4 == nil || m.Network.Internal {
			continue
		}
		for _, r := range m.Endpoint.Lease4.Routes {
			if !seen[r.Destination] {
				seen[r.Destination] = true
				rows = append(rows, desired.Route{Namespace: ns, Destination: r.Destination, Gateway: r.Gateway, Link: m.Endpoint.Interface})
			}
		}
	}
	return rows
}

// staticRoutes plans the routes that drivers outside have named, besides ways out. Where
// several networks name the same, the first has it.
func staticRoutes(ns string, members []gateway.Member) []desired.Row {
	var rows []desired.Row
	seen := map[netip.Prefix]bool{}
	for _, m := range members {
		j := m.Learned.Joined
		if j == nil || j.Link == "" {
			continue
		}
		for _, r := range j.Routes {
			if r.Default() || seen[r.Destination] || !m.Endpoint.Address(model.FamilyOf(r.Destination.Addr())).IsValid() {
				continue
			}
			seen[r.Destination] = true
			rows = append(rows, desired.Route{Namespace: ns, Destination: r.Destination, Gateway: r.Via, Link: m.Endpoint.Interface})
		}
	}
	return rows
}

// leasedServers returns the name servers that a DHCP server names for the network by which
// a container leaves.
func leasedServers(members []gateway.Member) []netip.Addr {
	for _, m := range members {
		var all []netip.Addr
		for _, f := range model.Families {
			if l := m.Endpoint.Lease(f); l != nil && !m.Network.Internal {
				all = append(all, l.DNS...)
			}
		}
		if len(all) > 0 {
			return all
		}
	}
	return nil
}

// elsewhere plans what a container with several networks may say on each of them:
// answers from its address on a network that is not its way out leave by the one that
// is. The address of an internal network, or of one over hosts, stays there. The rows
// are the sandbox's, since a network that is joined or left changes those of all.
func (in Input) elsewhere(sb model.Sandbox, members []gateway.Member) []desired.Row {
	var rows []desired.Row
	for _, m := range members {
		d, err := in.Drivers.Find(m.Network.Driver)
		multihomer, ok := d.(driver.Multihomer)
		if err != nil || !ok || m.Network.Internal {
			continue
		}
		var addrs []netip.Addr
		for _, o := range members {
			if o.Endpoint.ID == m.Endpoint.ID || o.Network.Internal || o.Network.Overlay() {
				continue
			}
			for _, f := range model.Families {
				if a := o.Endpoint.Address(f); a.IsValid() {
					addrs = append(addrs, a)
				}
			}
		}
		if len(addrs) > 0 {
			rows = append(rows, multihomer.Elsewhere(in.view(m.Network, m.Endpoint, sb), addrs)...)
		}
	}
	return rows
}

// linked plans what a sandbox's links open, on the network that has links.
func (in Input) linked(sb model.Sandbox, members []gateway.Member) ([]desired.Row, error) {
	i := slices.IndexFunc(members, func(m gateway.Member) bool { return m.Network.Name == model.NetworkBridge })
	if i < 0 || len(sb.Links) == 0 {
		return nil, nil
	}
	m := members[i]
	d, err := in.Drivers.Find(m.Network.Driver)
	if err != nil {
		return nil, err
	}
	linker, ok := d.(driver.Linker)
	if !ok {
		return nil, nil
	}
	var rows []desired.Row
	for _, l := range sb.Links {
		far, _ := in.Snapshot.EndpointAt(l.Target, m.Network.ID)
		target, _ := in.Snapshot.Sandbox(l.Target)
		if !far.Up {
			continue
		}
		more, err := linker.Link(in.view(m.Network, m.Endpoint, sb),
			driver.LinkTarget{Sandbox: target, Endpoint: far, Ports: l.Ports})
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
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

// resolver plans the sandbox's DNS server. There is one as soon as one network
// has names.
func (in Input) resolver(sb model.Sandbox, members []gateway.Member) (desired.Resolver, bool) {
	r := desired.Resolver{
		Namespace: model.NamespaceOf(sb.Container),
		Servers:   sb.DNS.Servers, NDots: sb.DNS.NDots, Internal: true,
	}
	if len(r.Servers) == 0 {
		r.Servers = leasedServers(members)
	}
	for _, m := range members {
		r.Internal = r.Internal && m.Network.Internal
		if !in.Drivers.Named(m.Network) || m.Endpoint.WayOut {
			continue
		}
		r.Networks = append(r.Networks, m.Network.ID)
		for _, l := range m.Endpoint.Links {
			r.Links = append(r.Links, desired.DNSLink{Link: l, Network: m.Network.ID})
		}
		r.Routes = addRoutes(r.Routes, m.Network)
	}
	return r, len(r.Networks) > 0
}

// addRoutes adds the domains that a network has name servers for. Where several
// networks have the same, the first in order of search has it.
func addRoutes(routes []desired.DNSRoute, n model.Network) []desired.DNSRoute {
	more, err := driver.DNSRoutes(n)
	if err != nil {
		return routes // refused when the network was created
	}
	for _, r := range more {
		if !slices.ContainsFunc(routes, func(o desired.DNSRoute) bool { return o.Domain == r.Domain }) {
			routes = append(routes, r)
		}
	}
	return routes
}

// names returns what an endpoint answers to on its network.
func names(n model.Network, sb model.Sandbox, e model.Endpoint) []desired.Row {
	if !n.Named() {
		return nil
	}
	return driver.NewMember(sb, e).NameRows(n)
}
