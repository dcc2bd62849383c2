package bridge

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
)

// HostEnd returns the name of the host's end of an endpoint's veth pair. Each
// start of the container has its own, so that the previous one may still be
// dying.
func HostEnd(e model.Endpoint, generation uint64) string {
	return driver.IfName("veth", string(e.ID), strconv.FormatUint(generation, 10))
}

// Device implements driver.Switcher.
func (Driver) Device(n model.Network) string { return Name(n) }

// Port implements driver.Switcher.
func (Driver) Port(e model.Endpoint, generation uint64) string { return HostEnd(e, generation) }

func planEndpoint(c config, v driver.View) ([]desired.Row, error) {
	e, ns := *v.Endpoint, model.NamespaceOf(v.Sandbox.Container)
	host := HostEnd(e, v.Sandbox.Generation)
	rows := []desired.Row{desired.Link{
		Name: host, Type: desired.LinkVeth, MTU: mtu(c, e), Master: c.bridge, Group: desired.PortGroup,
		Packets: hostPackets(c, v),
		Peer:    &desired.Peer{Namespace: ns, Name: e.Interface, MAC: e.MAC, Packets: containerPackets(c, v)},
	}, desired.Sysctl{Path: "net/ipv6/conf/" + host + "/disable_ipv6", Value: "1"}} // the bridge speaks for the host
	var addrs, open, routed []netip.Addr
	for _, f := range model.Families {
		if a := e.Address(f); a.IsValid() {
			rows = append(rows, desired.Addr{Namespace: ns, Link: e.Interface, Prefix: driver.Prefix(v, f), Detect: c.uplink != "" && a.Is6()})
			addrs = append(addrs, a)
			switch mode := c.publishing.mode(f); {
			case v.Network.Internal, c.uplink != "":
			case mode == modeUnprotected:
				open = append(open, a)
			case mode == modeRouted:
				routed = append(routed, a)
			}
		}
	}
	rows = append(rows, driver.Announcement(v, slices.Clone(addrs))...)
	for _, a := range e.LinkLocal {
		if a.Is6() && driver.IPv6Off(v.Sandbox, e) {
			continue
		}
		rows = append(rows, desired.Addr{Namespace: ns, Link: e.Interface, Prefix: driver.LinkLocalPrefix(a), Detect: c.uplink != "" && a.Is6()})
		addrs = append(addrs, a)
	}
	settings, err := driver.InterfaceSettings(v)
	if err != nil {
		return nil, err
	}
	if c.uplink != "" {
		rows = append(rows, lanSettings(v)...)
	}
	rows = driver.Override(rows, settings)
	mode, err := portMode(v)
	if err != nil {
		return nil, err
	}
	rows = append(rows, firewall.Port(firewall.Attachment{
		Port: host, Bridge: c.bridge, MAC: e.MAC, Addrs: addrs, Subnets: subnetsOf(v), Mode: mode,
	})...)
	rows = append(rows, firewall.Unprotected(c.bridge, open)...)
	return append(rows, firewall.Pingable(c.bridge, routed)...), nil
}

// Elsewhere implements driver.Multihomer. A LAN is told nothing of the host's networks.
func (d Driver) Elsewhere(v driver.View, addrs []netip.Addr) []desired.Row {
	if d.Uplink(v.Network) != "" {
		return nil
	}
	return firewall.Elsewhere(HostEnd(*v.Endpoint, v.Sandbox.Generation), addrs)
}

// Link implements driver.Linker. Where containers may talk to one another anyway,
// a link opens nothing.
func (Driver) Link(v driver.View, to driver.LinkTarget) ([]desired.Row, error) {
	c, err := parse(v.Network)
	if err != nil || c.icc {
		return nil, err
	}
	return firewall.Linked(firewall.Link{
		Bridge: c.bridge, From: linkEnd(v.Sandbox, *v.Endpoint), To: linkEnd(to.Sandbox, to.Endpoint), Ports: to.Ports,
	}), nil
}

func linkEnd(sb model.Sandbox, e model.Endpoint) firewall.LinkEnd {
	return firewall.LinkEnd{
		Namespace: model.NamespaceOf(sb.Container), Interface: e.Interface,
		MAC: e.MAC, Addr4: e.Addr4, Addr6: e.Addr6,
	}
}
