package containerview

import (
	"net/netip"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// Networks returns what Docker shows of every membership of a container, by
// the network's name. Addresses are shown only while the endpoint is up.
func (v View) Networks(r containerrecord.Record) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	s := v.State
	sb, ok := s.Sandbox(r.Sandbox)
	if !ok {
		return out
	}
	for _, e := range s.EndpointsInOrder(sb.ID) {
		if n, ok := s.Network(e.Network); ok && !e.WayOut {
			out[n.Name] = settings(sb, gateway.Member{Endpoint: e, Network: n, Learned: v.Facts.Endpoint(e.ID)}, v.Drivers.Named(n))
		}
	}
	for _, spec := range sb.Pending {
		out[spec.Network] = wanted(spec)
	}
	return out
}

// wanted returns what the user asked for, without anything that came of it.
func wanted(spec model.EndpointSpec) *network.EndpointSettings {
	out := &network.EndpointSettings{
		Aliases: spec.Aliases, DriverOpts: spec.DriverOpts, GwPriority: spec.Priority,
	}
	if spec.IPv4.IsValid() || spec.IPv6.IsValid() || len(spec.LinkLocal) > 0 {
		out.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: spec.IPv4, IPv6Address: spec.IPv6, LinkLocalIPs: spec.LinkLocal}
	}
	out.MacAddress = HardwareAddr(spec.MAC)
	for _, link := range spec.Links {
		out.Links = append(out.Links, link.Target+":"+link.Alias)
	}
	return out
}

// settings returns what Docker shows of a membership; named says that it is found by
// name on its network.
func settings(sb model.Sandbox, m gateway.Member, named bool) *network.EndpointSettings {
	n, e := m.Network, m.Endpoint
	out := wanted(e.Spec(n.Name))
	out.NetworkID = string(n.ID)
	if named {
		out.DNSNames = model.DNSNames(sb, e)
	}
	if !e.Up {
		return out
	}
	out.EndpointID = string(e.ID)
	out.MacAddress = HardwareAddr(e.MAC)
	out.DriverOpts = withLease(out.DriverOpts, "com.linkspan.dhcp.", e.Lease4)
	out.DriverOpts = withLease(out.DriverOpts, "com.linkspan.dhcp6.", e.Lease6)
	out.IPAddress, out.Gateway, out.IPPrefixLen = addressing(m, model.IPv4)
	out.GlobalIPv6Address, out.IPv6Gateway, out.GlobalIPv6PrefixLen = addressing(m, model.IPv6)
	return out
}

// addressing returns an endpoint's address of family f with the gateway and the
// prefix length of its network.
func addressing(m gateway.Member, f model.Family) (address, via netip.Addr, bits int) {
	address = m.Endpoint.Address(f)
	said := m.Learned.Address(f)
	pool, ok := m.Network.PoolOf(address)
	l := m.Endpoint.Lease(f)
	switch {
	case l != nil && l.Prefix.Addr() == address:
		return address, l.Gateway, l.Prefix.Bits()
	case said.IsValid() && said.Addr() == address:
		bits = said.Bits()
	case !ok:
		return netip.Addr{}, netip.Addr{}, 0
	default:
		bits = pool.Subnet.Bits()
	}
	via, _ = m.Out(f)
	return address, via, bits
}

// HardwareAddr returns a MAC address of the model in Docker's form; nil for none.
func HardwareAddr(mac string) network.HardwareAddr {
	var out network.HardwareAddr
	if err := out.UnmarshalText([]byte(mac)); err != nil {
		return nil // checked when it was asked for
	}
	return out
}
