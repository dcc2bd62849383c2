package overlay

import (
	"net/netip"
	"strconv"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// router is the address of the network's namespace on each container's link: containers
// with IPv6 reach all others through it, since nothing answers for a whole subnet there.
var router = netip.MustParseAddr("fe80::1")

// HostEnd returns the name of an endpoint's end in its network's namespace, in the start of
// its container that generation counts.
func HostEnd(e model.Endpoint, generation uint64) string {
	return driver.IfName("veth", string(e.ID), strconv.FormatUint(generation, 10))
}

func planEndpoint(v driver.View, size int) ([]desired.Row, error) {
	e, inside, ns := *v.Endpoint, model.NamespaceOf(v.Sandbox.Container), Namespace(v.Network.ID)
	end := HostEnd(e, v.Sandbox.Generation)
	set := func(path, value string) desired.Row {
		return desired.Sysctl{Namespace: ns, Path: path, Value: value}
	}
	rows := []desired.Row{
		desired.Link{
			Namespace: ns, Name: end, Type: desired.LinkVeth, MTU: size,
			Peer: &desired.Peer{Namespace: inside, Name: e.Interface, MAC: e.MAC},
		},
		set("net/ipv4/conf/"+end+"/proxy_arp", "1"),
		set("net/ipv4/neigh/"+end+"/proxy_delay", "0"),
		set("net/ipv4/conf/"+end+"/rp_filter", "1"),
		set("net/ipv4/conf/"+end+"/send_redirects", "0"),
		ipv6Of(ns, end, v.Network),
	}
	for _, f := range model.Families {
		a := e.Address(f)
		if !a.IsValid() {
			continue
		}
		own := netip.PrefixFrom(a, a.BitLen())
		rows = append(rows,
			desired.Route{Namespace: ns, Link: end, Destination: own},
			desired.Neigh{Namespace: ns, Link: end, IP: a, MAC: e.MAC})
		rows = append(rows, hairpin(ns, e, a)...)
		if f == model.IPv4 {
			rows = append(rows, desired.Addr{Namespace: inside, Link: e.Interface, Prefix: driver.Prefix(v, f)})
			continue
		}
		rows = append(rows,
			desired.Addr{Namespace: ns, Link: end, Prefix: netip.PrefixFrom(router, 64)},
			desired.Addr{Namespace: inside, Link: e.Interface, Prefix: own},
			desired.Route{Namespace: inside, Link: e.Interface, Destination: driver.Prefix(v, f).Masked(), Gateway: router})
	}
	rows = append(rows, planAnswers(v)...)
	settings, err := driver.InterfaceSettings(v)
	if err != nil {
		return nil, err
	}
	return driver.Override(rows, settings), nil
}
