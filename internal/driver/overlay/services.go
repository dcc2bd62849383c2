package overlay

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// planServices plans where connections to services' virtual addresses go: to their members
// on all hosts that are ready. Each host balances for its own containers, so nobody's source
// has to be hidden. On the network for published ports nobody calls a service by its address.
func planServices(v driver.View) (rows []desired.Row) {
	if v.Network.Ingress {
		return nil
	}
	of := map[netip.Addr]string{} // the service that has an address
	members := map[netip.Addr][]driver.Member{}
	for _, m := range byClaim(v.Members) {
		for _, vip := range m.Service.VIPs {
			if _, ok := v.Network.PoolOf(vip); !ok {
				continue
			}
			if _, taken := of[vip]; !taken {
				of[vip] = m.Service.Service
			}
			if of[vip] == m.Service.Service {
				members[vip] = append(members[vip], m)
			}
		}
	}
	for vip, all := range members {
		rows = append(rows, balance(v, vip, all))
	}
	slices.SortFunc(rows, func(a, b desired.Row) int { return a.Key().Compare(b.Key()) })
	return rows
}

// byClaim returns the members that run tasks, in the order in which they are believed where two
// services say the same address. The swarm gives an address again once its service is gone, whose last
// members may still be ending: who is ready comes first.
func byClaim(all []driver.Member) []driver.Member {
	tasks := slices.DeleteFunc(slices.Clone(all), func(m driver.Member) bool { return m.Service == nil })
	slices.SortStableFunc(tasks, func(a, b driver.Member) int {
		return cmp.Or(model.CompareBool(b.Serving, a.Serving), cmp.Compare(a.Service.Service, b.Service.Service))
	})
	return tasks
}

func balance(v driver.View, vip netip.Addr, all []driver.Member) desired.Balance {
	row := desired.Balance{Namespace: Namespace(v.Network.ID), To: desired.Frontend{Addr: vip}}
	if v.Overlay.Local.IsValid() {
		row.Salt = v.Overlay.Local.String()
	}
	for _, m := range all {
		for _, a := range m.Addrs {
			if model.FamilyOf(a) != model.FamilyOf(vip) {
				continue
			}
			to := &row.Draining
			if m.Serving {
				to = &row.Backends
			}
			*to = append(*to, netip.AddrPortFrom(a, 0))
		}
	}
	slices.SortFunc(row.Backends, netip.AddrPort.Compare)
	slices.SortFunc(row.Draining, netip.AddrPort.Compare)
	return row
}

// hairpin lets a container that stands for a service call that service and be led to itself.
func hairpin(namespace string, e model.Endpoint, a netip.Addr) []desired.Row {
	if e.Service == nil || len(e.Service.VIPs)+len(e.Service.Ingress) == 0 {
		return nil
	}
	return []desired.Row{desired.Hairpin{Namespace: namespace, Addr: a}}
}
