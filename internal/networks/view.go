package networks

import (
	"math"
	"math/bits"
	"net/netip"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// View is a network as it was at one moment, with what can be asked about it.
type View struct {
	model.Network
	at *state.Snapshot
	// Peers are the hosts that have a container on the network, if it reaches over hosts.
	Peers []facts.Peer
	known facts.Overlay
}

// Member is an endpoint that is up, with the sandbox that it belongs to.
type Member struct {
	Endpoint model.Endpoint
	Sandbox  model.Sandbox
}

// Name returns what the member is called on its network: its container's name, or what
// leads it out.
func (m Member) Name() string {
	switch {
	case m.Sandbox.Ingress != "":
		return "gateway_" + m.Sandbox.Name
	case m.Endpoint.WayOut:
		return "gateway_" + model.Short(m.Sandbox.ID)
	}
	return m.Sandbox.Name
}

// Members returns who is on the network: the endpoints that are up.
func (v View) Members() []Member { return members(v.at, v.Network) }

func members(s *state.Snapshot, n model.Network) (out []Member) {
	for e := range s.EndpointsOn(n.ID) {
		if sb, ok := s.Sandbox(e.Sandbox); ok && e.Up {
			out = append(out, Member{e, sb})
		}
	}
	return out
}

// idle tells whether nobody is on a network.
func idle(s *state.Snapshot, n model.Network) bool { return len(members(s, n)) == 0 }

// SubnetUsage counts the addresses of a subnet: those that nobody can be given, and
// those that a container may still get without asking for them; the latter is
// math.MaxUint64 where there are as many or more.
type SubnetUsage struct {
	Subnet          netip.Prefix
	Used, Available uint64
}

// Subnets returns how far each subnet of the network is used.
func (v View) Subnets() []SubnetUsage {
	out := make([]SubnetUsage, 0, len(v.IPAM.Pools))
	for _, p := range v.IPAM.Pools {
		used := usedAddresses(v.at, v.Network, p)
		from := p.Range
		if !from.IsValid() {
			from = p.Subnet
		}
		inRange := uint64(0)
		for a := range used {
			if from.Contains(a) {
				inRange++
			}
		}
		available := addressCount(from)
		if available != math.MaxUint64 { // of that many, the few in use do not show
			available -= inRange
		}
		out = append(out, SubnetUsage{p.Subnet, uint64(len(used)), available})
	}
	return out
}

// usedAddresses returns the addresses of a pool that nobody can be given: those
// that stand for something else, and those that are held or claimed.
func usedAddresses(s *state.Snapshot, n model.Network, p model.Pool) map[netip.Addr]bool {
	used := map[netip.Addr]bool{}
	add := func(a netip.Addr) {
		if a.IsValid() && p.Subnet.Contains(a) {
			used[a] = true
		}
	}
	if hostBits := p.Subnet.Addr().BitLen() - p.Subnet.Bits(); hostBits > 1 {
		add(p.Subnet.Masked().Addr())
		if p.Subnet.Addr().Is4() {
			add(lastAddress(p.Subnet))
		}
	}
	add(p.Gateway)
	for _, a := range p.Aux {
		add(a)
	}
	for e := range s.EndpointsOn(n.ID) {
		for _, f := range model.Families {
			if e.Up || e.Static(f) {
				add(e.Address(f))
			}
		}
	}
	return used
}

// addressCount returns how many addresses a prefix has, at most 2^64-1.
func addressCount(p netip.Prefix) uint64 {
	hostBits := p.Addr().BitLen() - p.Bits()
	if hostBits >= bits.UintSize {
		return math.MaxUint64
	}
	return 1 << hostBits
}

// lastAddress returns the broadcast address of an IPv4 subnet.
func lastAddress(p netip.Prefix) netip.Addr {
	raw := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(raw)
}
