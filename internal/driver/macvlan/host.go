package macvlan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// OptionHost makes the host a machine on the network, so that it and the containers
// hear one another: a list of addresses that it is to have there, and of "auto", which
// stands for one of each subnet in which no address is named.
//
//	host:  eth0 ═══ LAN
//	        ╠═ mv-<id>  198.51.100.130/32, routes to the containers alone
//	        ╚═ eth0     :container, 198.51.100.131/24
//
// All else on the parent's network the host reaches by the parent, as before.
const OptionHost = driver.HostAddressName

// auto is an address of the engine's choice.
const auto = "auto"

// HostAddresses implements driver.HostMember.
func (Driver) HostAddresses(n model.Network) (named []netip.Addr, every bool, err error) {
	text, given := n.Options[OptionHost]
	if !given {
		return nil, false, nil
	}
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if word == auto {
			every = true
			continue
		}
		a, err := netip.ParseAddr(word)
		if err != nil {
			return nil, false, badHost(text, fmt.Sprintf("%.64q is no IP address", word))
		}
		if slices.Contains(named, a) {
			return nil, false, badHost(text, fmt.Sprintf("%s is there twice", a))
		}
		named = append(named, a)
	}
	return named, every, checkHostMode(n)
}

// checkHostMode refuses what keeps the interfaces of one parent apart: also the host's.
func checkHostMode(n model.Network) error {
	switch m, err := mode(n); {
	case err != nil:
		return err
	case m == modePassthru:
		return badHost(n.Options[OptionHost], "in mode passthru one interface has the parent to itself")
	case m == modePrivate:
		return badHost(n.Options[OptionHost], "in mode private the interfaces of one parent do not hear one another, the host's neither")
	}
	return nil
}

func badHost(value, why string) error {
	return &model.Error{Kind: model.Invalid, Err: fmt.Errorf("failed to parse %s value: %q", OptionHost, value), Who: why,
		Way: "give an address of each subnet in which the host is to have one, or auto: -o " + OptionHost + "=auto"}
}

// hostLink is the name of the host's own interface on a network.
func hostLink(n model.Network) string { return "mv-" + model.Short(n.ID) }

// planHost returns the rows of the host's own interface. Its addresses are alone in
// their subnets: who else is on the parent's network is reached by the parent.
func planHost(n model.Network, parent desired.Parent, mtu int) []desired.Row {
	link := hostLink(n)
	rows := []desired.Row{
		desired.Link{Name: link, Type: desired.LinkMacvlan, MTU: mtu, MAC: driver.MAC("host", string(n.ID)), Parent: &parent},
		// Who is not reached by this interface hears nothing of the host here, but by the
		// parent (kernel: ip-sysctl, arp_filter); containers find all of its addresses.
		desired.Sysctl{Path: "net/ipv4/conf/" + link + "/arp_filter", Value: "1"},
	}
	noIPv6, inside := "1", []netip.Prefix(nil)
	for _, p := range n.IPAM.Pools {
		inside = append(inside, p.Subnet)
		a := driver.HostAddress(p)
		if !a.IsValid() {
			continue
		}
		if a.Is6() {
			noIPv6 = "0"
		}
		rows = append(rows, desired.Addr{Link: link, Prefix: single(a), Detect: a.Is6()})
	}
	rows = append(rows,
		// What routers say is for the parent.
		desired.Sysctl{Path: "net/ipv6/conf/" + link + "/accept_ra", Value: "0"},
		desired.Sysctl{Path: driver.DisableIPv6(link), Value: noIPv6})
	if n.Internal {
		rows = append(rows, desired.Fence{Link: link, Inside: inside})
	}
	return rows
}

// planHostRoutes returns the ways by which the host reaches an endpoint.
func planHostRoutes(n model.Network, e model.Endpoint) []desired.Row {
	var rows []desired.Row
	for _, f := range model.Families {
		a := e.Address(f)
		if p, ok := n.PoolOf(a); ok && driver.HostAddress(p).IsValid() {
			rows = append(rows, desired.Route{Destination: single(a), Link: hostLink(n)})
		}
	}
	return rows
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// onHost tells whether the host has an address on a network.
func onHost(n model.Network) bool {
	return n.Options[OptionHost] != "" && slices.ContainsFunc(n.IPAM.Pools, func(p model.Pool) bool { return driver.HostAddress(p).IsValid() })
}
