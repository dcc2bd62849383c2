package workload

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// endpointSpecs returns the memberships that a container is created with: those
// given, that of its mode first, the others by name; without any the network of its
// mode. As with Docker a mode does not add a network to those given.
func (m *Manager) endpointSpecs(r record, nets *network.NetworkingConfig) []ops.EndpointSpec {
	given := map[string]*network.EndpointSettings{}
	if nets != nil {
		given = nets.EndpointsConfig
	}
	// The mode and a membership may name one network in two ways, by name and by ID.
	s, first := m.o.Engine.Snapshot(), string(r.mode())
	id := func(ref string) string {
		if n, err := s.FindNetwork(ref); err == nil {
			return string(n.ID)
		}
		return ref
	}
	if len(given) == 0 {
		return []ops.EndpointSpec{newEndpoint(first, nil)}
	}
	names := slices.Sorted(maps.Keys(given))
	if i := slices.IndexFunc(names, func(name string) bool { return id(name) == id(first) }); i > 0 {
		main := names[i]
		names = slices.Insert(slices.Delete(names, i, i+1), 0, main)
	}
	var out []ops.EndpointSpec
	for _, name := range names {
		out = append(out, newEndpoint(name, given[name]))
	}
	return out
}

// newEndpoint translates one membership; settings may be nil.
func newEndpoint(networkRef string, s *network.EndpointSettings) ops.EndpointSpec {
	return containerspec.EndpointSpec(model.EndpointID(ids.New()), networkRef, s)
}

// settingsOf returns what Docker shows of every membership of a container, by
// the network's name. Addresses are shown only while the endpoint is up.
func (m *Manager) settingsOf(r record) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	s := m.o.Engine.Snapshot()
	sb, ok := s.Sandbox(r.Sandbox)
	if !ok {
		return out
	}
	for _, e := range s.EndpointsInOrder(sb.ID) {
		if n, ok := s.Network(e.Network); ok {
			out[n.Name] = settings(sb, n, e)
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
	out.MacAddress = hardware(spec.MAC)
	for _, link := range spec.Links {
		out.Links = append(out.Links, link.Target+":"+link.Alias)
	}
	return out
}

func settings(sb model.Sandbox, n model.Network, e model.Endpoint) *network.EndpointSettings {
	out := wanted(e.Spec(n.Name))
	out.NetworkID = string(n.ID)
	if n.Driver != model.DriverHost && n.Driver != model.DriverNull && n.Named() {
		out.DNSNames = model.DNSNames(sb, e)
	}
	if !e.Up {
		return out
	}
	out.EndpointID = string(e.ID)
	out.MacAddress = hardware(e.MAC)
	out.IPAddress, out.Gateway, out.IPPrefixLen = addressing(n, e, model.IPv4)
	out.GlobalIPv6Address, out.IPv6Gateway, out.GlobalIPv6PrefixLen = addressing(n, e, model.IPv6)
	return out
}

// addressing returns an endpoint's address of family f with the gateway and the
// prefix length of its network.
func addressing(n model.Network, e model.Endpoint, f model.Family) (address, via netip.Addr, bits int) {
	pool, ok := n.Pool(f)
	address = e.Address(f)
	if !ok || !address.IsValid() {
		return netip.Addr{}, netip.Addr{}, 0
	}
	if !n.Internal {
		via = gateway.In(pool, f)
	}
	return address, via, pool.Subnet.Bits()
}

func hardware(mac string) network.HardwareAddr {
	var out network.HardwareAddr
	if err := out.UnmarshalText([]byte(mac)); err != nil {
		return nil // checked when it was asked for
	}
	return out
}
