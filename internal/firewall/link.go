package firewall

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// LinkEnd is a container at one end of a link.
type LinkEnd struct {
	Namespace, Interface string
	MAC                  string
	Addr4, Addr6         netip.Addr // one of them may be missing
}

// Link is a link between two containers of a network that keeps its containers
// apart: From may open connections to Ports of To, and nothing else.
type Link struct {
	Bridge   string
	From, To LinkEnd
	Ports    []model.OpenPorts
}

// Linked returns the rows of a link. Where containers are kept apart they cannot
// find each other by neighbour discovery (RFC 4861) either, so each end is told
// where the other is; ARP is let through anyway.
func Linked(l Link) []desired.Row {
	var rows []desired.Row
	for _, pair := range [][2]netip.Addr{{l.From.Addr4, l.To.Addr4}, {l.From.Addr6, l.To.Addr6}} {
		from, to := pair[0], pair[1]
		if !from.IsValid() || !to.IsValid() || len(l.Ports) == 0 {
			continue
		}
		for _, p := range l.Ports {
			rows = append(rows, desired.Allow{
				Bridge: l.Bridge, From: from, To: to, Protocol: p.Protocol, First: p.Ports.First, Last: p.Ports.Last,
			})
		}
		if from.Is6() {
			rows = append(rows,
				desired.Neigh{Namespace: l.From.Namespace, Link: l.From.Interface, IP: to, MAC: l.To.MAC},
				desired.Neigh{Namespace: l.To.Namespace, Link: l.To.Interface, IP: from, MAC: l.From.MAC})
		}
	}
	return rows
}
