package observe

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/addr"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// Links adds to h what follows from the host's links, addresses and routes: names, which
// prefixes it reaches directly, the addresses that others know it by, and how large packets
// may be. Interfaces of the engine with that instance do not count. It changes nothing.
func Links(conn *rtnl.Conn, instance string, h *facts.Host) error {
	links, err := link.List(conn)
	if err != nil {
		return err
	}
	routes, err := route.All(conn)
	if err != nil {
		return err
	}
	owned := ours(instance, links)
	if err := addrs(conn, links, owned, h); err != nil {
		return err
	}
	h.OnLink = OnLink(routes, owned)
	for _, l := range links {
		h.Links = append(h.Links, l.Name)
	}
	slices.Sort(h.Links)
	h.Packets = Packets(links, routes)
	return nil
}

// addrs adds the host's addresses, except where they are of interfaces of
// ours or mean nothing elsewhere, and the MAC addresses of who has any, or is a
// bridge: a network may be about to adopt it.
func addrs(conn *rtnl.Conn, links []link.Info, ours map[int]bool, h *facts.Host) error {
	all, err := addr.List(conn, everyLink)
	if err != nil {
		return err
	}
	addressed := map[int]bool{}
	for _, i := range all {
		a := i.Prefix.Addr()
		if ours[i.Index] || a.IsLoopback() || a.IsLinkLocalUnicast() {
			continue
		}
		addressed[i.Index] = true
		h.Addrs = append(h.Addrs, a)
	}
	for _, l := range links {
		bridge := l.Type == string(desired.LinkBridge) && !ours[l.Index]
		if (addressed[l.Index] || bridge) && len(l.MAC) == len("02:42:00:00:00:00") { // tunnels have other kinds of address
			h.MACs = append(h.MACs, l.MAC)
		}
	}
	slices.SortFunc(h.Addrs, netip.Addr.Compare)
	slices.Sort(h.MACs)
	h.Addrs, h.MACs = slices.Compact(h.Addrs), slices.Compact(h.MACs)
	return nil
}

// everyLink asks for the addresses of all links.
const everyLink = 0

// ours tells which links belong to the engine, by their index.
func ours(instance string, links []link.Info) map[int]bool {
	out := map[int]bool{}
	for _, l := range links {
		_, owned := link.Owner(instance, l)
		out[l.Index] = owned || l.Group == desired.PortGroup
	}
	return out
}
