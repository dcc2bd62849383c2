package dockerapi

import (
	"math"
	"math/bits"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

func (s *server) inspectNetwork(w http.ResponseWriter, r *request) error {
	if text := r.query.Get("verbose"); text != "" {
		if _, err := strconv.ParseBool(text); err != nil {
			return model.Errorf(model.Invalid, "invalid value for verbose: %s", text)
		}
	}
	term := r.PathValue("id")
	snapshot := s.Networks.Snapshot()
	n, err := snapshot.FindNetwork(term)
	if err != nil {
		return err
	}
	out := network.Inspect{Network: show(n), Containers: showMembers(snapshot, n)}
	if scope := r.query.Get("scope"); scope != "" && scope != out.Scope {
		return model.Errorf(model.NotFound, "network %s not found", term)
	}
	if r.version >= 52 {
		out.Status = &network.Status{}
		if !n.ConfigOnly {
			out.Status.IPAM.Subnets = subnetStatuses(snapshot, n)
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

// subnetStatuses counts the addresses of each subnet.
func subnetStatuses(s *state.Snapshot, n model.Network) network.SubnetStatuses {
	out := network.SubnetStatuses{}
	for _, p := range n.IPAM.Pools {
		used := usedAddresses(s, n, p)
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
		out[p.Subnet] = network.SubnetStatus{IPsInUse: uint64(len(used)), DynamicIPsAvailable: available}
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
