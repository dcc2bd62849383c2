package firewall

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Publication is the ports that lead to one container, and who may go past them.
type Publication struct {
	Bridge   string
	To4, To6 netip.Addr // the container; one of them may be missing
	Ports    []model.PortBinding
	// Direct lets everybody reach the published ports at the container's own
	// addresses, Trusted those who come in by certain interfaces.
	Direct  bool
	Trusted []string
	// Socket has ports served from sockets of the host, for its administrator's rules to
	// judge like any other server's (hook input), in place of a translation. Subnets are
	// those of the container's network.
	Socket  bool
	Subnets []netip.Prefix
}

var loopback6 = netip.IPv6Loopback()

// Published returns the rows of a publication. What IPv6 clients ask of a
// container without IPv6, what is addressed to ::1 and to link-local addresses of the
// host, and datagrams to broadcast addresses no rule can translate: a forwarder
// serves it.
func Published(p Publication) []desired.Row {
	var rows []desired.Row
	var direct []service
	for _, b := range p.Ports {
		to := p.To4
		if b.Host.Is6() && p.To6.IsValid() {
			to = p.To6
		}
		if !to.IsValid() {
			continue
		}
		native := b.Host.Is4() == to.Is4()
		if native && (b.HostFirst == 0 || p.Direct || len(p.Trusted) > 0) {
			direct = append(direct, service{to, b.Protocol, b.Container, b.HostFirst == 0 || p.Direct})
		}
		if b.HostFirst != 0 {
			rows = append(rows, p.opened(b, to)...)
		}
	}
	return append(rows, directly(p.Bridge, p.Trusted, direct)...)
}

// opened returns the rows of host ports that lead to a container.
func (p Publication) opened(b model.PortBinding, to netip.Addr) []desired.Row {
	host := b.HostPorts()
	forward := func(at netip.Addr) desired.Forward {
		return desired.Forward{Protocol: b.Protocol, Host: at, First: host.First, Last: host.Last, To: to, ToFirst: b.Container.First}
	}
	served := desired.Served{Protocol: b.Protocol, Host: b.Host, First: host.First, Last: host.Last}
	reserve := desired.Reserve{Protocol: b.Protocol, Addr: b.Host, First: host.First, Last: host.Last}
	switch {
	case b.Host == loopback6:
		return []desired.Row{forward(b.Host), reserve}
	case b.Host.Is4() != to.Is4():
		return []desired.Row{forward(b.Host), served, reserve}
	case p.Socket:
		row := forward(b.Host)
		row.Transparent, row.Subnet = true, p.subnetOf(to)
		return []desired.Row{row, served, reserve}
	}
	rows := []desired.Row{desired.Publish{
		Protocol: b.Protocol, Host: b.Host, First: host.First, Last: host.Last,
		To: to, ToFirst: b.Container.First, Bridge: p.Bridge,
	}, reserve}
	rest := desired.Forward{
		Protocol: b.Protocol, Host: b.Host, First: host.First, Last: host.Last, To: to, ToFirst: b.Container.First, Rest: true,
	}
	switch {
	case b.Host == netip.IPv6Unspecified() && b.Protocol.Forwardable():
		rows = append(rows, rest)
	case b.Host == netip.IPv4Unspecified() && b.Protocol == model.UDP:
		rest.Bridge = p.Bridge
		rows = append(rows, rest)
	}
	return rows
}

// subnetOf returns the subnet that an address of the container is in.
func (p Publication) subnetOf(a netip.Addr) netip.Prefix {
	for _, s := range p.Subnets {
		if s.Contains(a) {
			return s
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// service is ports of a container at its own address.
type service struct {
	at       netip.Addr
	protocol model.Protocol
	ports    model.PortRange
	public   bool // for everybody; otherwise for trusted interfaces
}

// directly returns the rows that open services. What overlaps is joined, so that
// every row is a stretch of its own.
func directly(bridge string, trusted []string, services []service) []desired.Row {
	slices.SortFunc(services, func(a, b service) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.protocol, b.protocol), model.CompareBool(b.public, a.public), cmp.Compare(a.ports.First, b.ports.First))
	})
	var joined []service
	for _, s := range services {
		if n := len(joined) - 1; n >= 0 && joined[n].at == s.at && joined[n].protocol == s.protocol && joined[n].public == s.public &&
			int(s.ports.First) <= int(joined[n].ports.Last)+1 {
			joined[n].ports.Last = max(joined[n].ports.Last, s.ports.Last)
			continue
		}
		joined = append(joined, s)
	}
	var rows []desired.Row
	for _, s := range joined {
		row := desired.Direct{Bridge: bridge, Addr: s.at, Protocol: s.protocol, First: s.ports.First, Last: s.ports.Last}
		if s.public {
			rows = append(rows, row)
			continue
		}
		for _, name := range trusted {
			rows = append(rows, desired.DirectFrom{Interface: name, Direct: row})
		}
	}
	return rows
}

// Unprotected returns the rows that let everybody reach all of a container.
func Unprotected(bridge string, addrs []netip.Addr) []desired.Row {
	var rows []desired.Row
	for _, a := range addrs {
		rows = append(rows, desired.Direct{Bridge: bridge, Addr: a})
	}
	return rows
}

// Pingable returns the rows that let everybody ping a container.
func Pingable(bridge string, addrs []netip.Addr) []desired.Row {
	var rows []desired.Row
	for _, a := range addrs {
		rows = append(rows, desired.DirectICMP{Bridge: bridge, Addr: a})
	}
	return rows
}
