package bridge

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/firewall"
	"github.com/linkspan/linkspan/internal/model"
)

// portMode says how far an endpoint's port is believed: as its network or the
// endpoint itself has it, and by default as far as its container was allowed.
func portMode(v driver.View) (desired.PortMode, error) {
	security, err := driver.PortSecurityOf(v.Network.Options, v.Endpoint.DriverOpts)
	switch {
	case err != nil:
		return desired.PortPinned, err
	case security == driver.SecurityOff:
		return desired.PortUnchecked, nil
	case security == driver.SecurityCapability && v.Sandbox.NetAdmin:
		return desired.PortCapable, nil
	}
	return desired.PortPinned, nil
}

func subnets(n model.Network) (out []netip.Prefix) {
	for _, p := range n.IPAM.Pools {
		out = append(out, p.Subnet)
	}
	return out
}

// subnetsOf returns the subnets in which an endpoint has neighbours: those of its network,
// or what a DHCP server has said.
func subnetsOf(v driver.View) []netip.Prefix {
	out := subnets(v.Network)
	for _, f := range model.Families {
		if l := v.Endpoint.Lease(f); l != nil {
			out = append(out, l.Prefix.Masked())
		}
	}
	return out
}

// identity keeps containers from speaking for the bridge. A gateway that is not
// on the bridge is another machine's, which they do not speak for either.
func identity(c config, n model.Network, rows []desired.Row) []desired.Row {
	g := firewall.Gateway{Bridge: c.bridge, MAC: driver.MAC("bridge", string(n.ID))}
	own := map[netip.Addr]bool{}
	for _, row := range rows {
		if a, ok := row.(desired.Addr); ok {
			own[a.Prefix.Addr()] = true
			g.Addrs = append(g.Addrs, a.Prefix.Addr())
		}
	}
	for _, p := range n.IPAM.Pools {
		if p.Gateway.IsValid() && !own[p.Gateway] {
			g.Gateways = append(g.Gateways, p.Gateway)
		}
	}
	return firewall.Behind(g)
}
