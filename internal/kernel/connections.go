package kernel

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/conntrack"
)

// forgetConnections has the connections of container addresses removed that are gone, and
// those that changes of published ports have put in the wrong. It comes last,
// when no packet can make a new one.
func (p *pass) forgetConnections(addrs, policies []desired.Delta) {
	stale := conntrack.Stale{Addrs: map[netip.Addr]bool{}, Ports: map[desired.Publish]conntrack.Change{}}
	for _, d := range addrs {
		if row := d.Old.(desired.Addr); row.Namespace != desired.HostNamespace {
			stale.Addrs[row.Prefix.Addr()] = true
		}
	}
	for _, d := range policies {
		if port, ok := d.Old.(desired.Publish); ok {
			stale.Ports[port] = conntrack.Withdrawn
		}
	}
	for _, d := range policies {
		if port, ok := d.New.(desired.Publish); ok {
			stale.Ports[port] = conntrack.Published
		}
	}
	p.k.flusher.Forget(stale)
}
