package driver

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// LinkLocalPrefix returns a link-local address with the length of the subnet that all of
// its family are of (RFC 3927, RFC 4291).
func LinkLocalPrefix(a netip.Addr) netip.Prefix {
	if a.Is6() {
		return netip.PrefixFrom(a, 64)
	}
	return netip.PrefixFrom(a, 16)
}

// Prefix returns the address of family f of v.Endpoint with the length of its subnet: as
// whoever gave it said, or as the network has it.
func Prefix(v View, f model.Family) netip.Prefix {
	a := v.Endpoint.Address(f)
	if said := v.Learned.Address(f); said.IsValid() && said.Addr() == a {
		return said
	}
	return PrefixOf(v.Network, *v.Endpoint, a)
}

// InterfaceSettings are what an endpoint's interface has besides addresses: those asked
// for with the endpoint, and whether it has IPv6, unless they say that themselves.
func InterfaceSettings(v View) ([]desired.Row, error) {
	ns := model.NamespaceOf(v.Sandbox.Container)
	custom, err := EndpointSysctls(*v.Endpoint, ns)
	if err != nil {
		return nil, err
	}
	own := desired.Sysctl{Namespace: ns, Path: DisableIPv6(v.Endpoint.Interface), Value: "0"}
	if !v.Network.IPv6 || IPv6Off(v.Sandbox, *v.Endpoint) {
		own.Value = "1"
	}
	rows := Override([]desired.Row{own}, custom)
	if v.Sandbox.NoIPv6 { // the container's setting stands over those of its endpoints
		rows = Override(rows, []desired.Row{own})
	}
	return rows, nil
}

// PrefixOf returns an address of an endpoint with the length of its subnet.
func PrefixOf(n model.Network, e model.Endpoint, a netip.Addr) netip.Prefix {
	if l := e.Lease(model.FamilyOf(a)); l != nil && l.Prefix.Addr() == a {
		return l.Prefix
	}
	if pool, ok := n.PoolOf(a); ok {
		return netip.PrefixFrom(a, pool.Subnet.Bits())
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// LeasedMTU is the least that came with an endpoint's leases, in bytes; 0 if none did.
func LeasedMTU(e model.Endpoint) (mtu int) {
	for _, f := range model.Families {
		if l := e.Lease(f); l != nil && l.MTU != 0 && (mtu == 0 || l.MTU < mtu) {
			mtu = l.MTU
		}
	}
	return mtu
}

// OnLAN returns the rows of an endpoint's interface that hangs on one of the host: the
// interface itself, which is made in the container and never seen on the host, its
// settings and addresses. Others than IPAM give out addresses there, so the kernel looks
// for duplicates.
func OnLAN(v View, link desired.LinkType, parent desired.Parent, mtu int) ([]desired.Row, error) {
	e, ns := *v.Endpoint, model.NamespaceOf(v.Sandbox.Container)
	if mtu == 0 {
		mtu = LeasedMTU(e)
	}
	rows := []desired.Row{desired.Link{
		Namespace: ns, Name: e.Interface, Type: link, MTU: mtu, MAC: e.MAC, Parent: &parent,
	}}
	var addrs []netip.Addr
	for _, f := range model.Families {
		if a := e.Address(f); a.IsValid() {
			rows = append(rows, desired.Addr{Namespace: ns, Link: e.Interface, Prefix: Prefix(v, f), Detect: a.Is6()})
			addrs = append(addrs, a)
		}
	}
	rows = append(rows, Announcement(v, slices.Clone(addrs))...)
	for _, a := range e.LinkLocal {
		if a.Is6() && IPv6Off(v.Sandbox, e) {
			continue
		}
		rows = append(rows, desired.Addr{Namespace: ns, Link: e.Interface, Prefix: LinkLocalPrefix(a), Detect: a.Is6()})
	}
	settings, err := InterfaceSettings(v)
	if err != nil {
		return nil, err
	}
	return Override(append(rows, LANSettings(v)...), settings), nil
}

// LANSettings are those of an interface with IPv6 on a network of others: what a sandbox
// begins with is for networks on which IPAM alone gives out addresses. Routers there say
// nothing to a container that is to have no way out.
func LANSettings(v View) []desired.Row {
	if !v.Network.IPv6 || IPv6Off(v.Sandbox, *v.Endpoint) {
		return nil
	}
	ns := model.NamespaceOf(v.Sandbox.Container)
	set := func(name, value string) desired.Row {
		return desired.Sysctl{Namespace: ns, Path: "net/ipv6/conf/" + v.Endpoint.Interface + "/" + name, Value: value}
	}
	rows := []desired.Row{set("accept_dad", "1")}
	// Where addresses are asked for, who asks hears the routers as well.
	if v.Network.Internal || v.Network.Leased() {
		rows = append(rows, set("accept_ra", "0"))
	}
	return rows
}
