package private

import (
	"maps"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// apart is what a network over hosts has in a namespace of its own, as the plan says.
type apart struct {
	namespace string // path
	services  []privateapi.Service
	peers     []netip.Addr
	mtu       int
}

// apartOf reads that of a network; zero if it has no namespace of its own.
func apartOf(plan desired.State, id model.NetworkID) (out apart) {
	peers := map[netip.Addr]bool{}
	var names map[netip.Addr][]string
	for row := range plan.Owned(desired.OwnerOf("network", id)) {
		switch r := row.(type) {
		case desired.Link:
			if r.Type == desired.LinkVXLAN {
				out.namespace, out.mtu = filepath.Join(model.NetnsDir, r.Namespace), r.MTU
			}
		case desired.FDB:
			peers[r.Remote] = true
		case desired.Balance:
			if r.To.Protocol != "" {
				continue // a published port: nobody calls it by an address of the network
			}
			if names == nil {
				names = namesOn(plan, id)
			}
			out.services = append(out.services, serviceOf(r, names))
		}
	}
	out.peers = slices.SortedFunc(maps.Keys(peers), netip.Addr.Compare)
	slices.SortFunc(out.services, func(a, b privateapi.Service) int { return a.Address.Compare(b.Address) })
	return out
}

// largest is how large packets of the network are between hosts: as large as those of its
// containers, and what is put around them. 0 if that is not known.
func (a apart) largest(n model.Network) int {
	if len(a.peers) == 0 || a.mtu == 0 {
		return 0
	}
	size := a.mtu + model.VXLANOverhead(a.peers[0])
	if n.Encrypted() {
		size += model.WireGuardOverhead(a.peers[0])
	}
	return size
}

func serviceOf(r desired.Balance, names map[netip.Addr][]string) privateapi.Service {
	out := privateapi.Service{Address: r.To.Addr, Names: names[r.To.Addr]}
	for ready, backends := range map[bool][]netip.AddrPort{true: r.Backends, false: r.Draining} {
		for _, b := range backends {
			task := privateapi.Task{Address: b.Addr(), Ready: ready}
			if known := names[b.Addr()]; len(known) > 0 {
				task.Name = known[0]
			}
			out.Tasks = append(out.Tasks, task)
		}
	}
	slices.SortFunc(out.Tasks, func(a, b privateapi.Task) int { return a.Address.Compare(b.Address) })
	return out
}

// namesOn are the names of addresses on a network: first that which a PTR query gets.
func namesOn(plan desired.State, id model.NetworkID) map[netip.Addr][]string {
	out := map[netip.Addr][]string{}
	for o := range plan.Kind(desired.KindName) {
		r, ok := o.Row.(desired.Name)
		if !ok || r.Network != id {
			continue
		}
		for _, a := range r.Addrs {
			switch {
			case slices.Contains(out[a], r.Name):
			case r.Primary:
				out[a] = slices.Insert(out[a], 0, r.Name)
			default:
				out[a] = append(out[a], r.Name)
			}
		}
	}
	return out
}
