package overlay

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// The swarm's ingress network. A connection to a published port of any host comes into the
// network's namespace there by the gate, which is on the host's gateway bridge, and is led to
// a task's container, be it on another host; its source stays what it is:
//
//	client ── host:8080 ── gate ┌ ov-<ingress> ┐ vx ═╗        ╔═ vx ┌ ov-<ingress> ┐── eth0 of the task
//	                            └──────────────┘     ╚════════╝     └──────────────┘
//
// Answers go back by the host that let the connection in. Its VXLAN's MAC address says which
// one that was: connections bear it as a mark, and each mark has a routing table.

// published is a port that all hosts have.
type published struct {
	protocol model.Protocol
	port     uint16
}

// planPublished plans where published ports lead, to all members that are ready, on their
// own ports; and that nothing else passes.
func planPublished(v driver.View) (rows []desired.Row) {
	if !v.Network.Ingress {
		return nil
	}
	of := map[published]string{} // the service that has a port
	members := map[published][]driver.Member{}
	for _, m := range byClaim(v.Members) {
		for _, p := range m.Service.Ingress {
			at := published{p.Protocol, p.Published}
			if _, taken := of[at]; !taken {
				of[at] = m.Service.Service
			}
			if of[at] == m.Service.Service {
				members[at] = append(members[at], m)
			}
		}
	}
	for at, all := range members {
		for _, gate := range v.Gates {
			rows = append(rows, lead(v, desired.Frontend{Addr: gate.Addr, Protocol: at.protocol, Port: at.port}, all))
		}
	}
	slices.SortFunc(rows, func(a, b desired.Row) int { return a.Key().Compare(b.Key()) })
	guard := desired.IngressGuard{Namespace: Namespace(v.Network.ID)}
	if vni, err := VNI(v.Network); err == nil && v.Overlay.Local.IsValid() {
		guard.Tunnel = link(vni, v.Overlay, home(v.Network))
	}
	rows = append(rows, guard)
	for _, gate := range v.Gates {
		if gate.Host.IsValid() && v.Overlay.Local.IsValid() && model.FamilyOf(gate.Host) == model.FamilyOf(v.Overlay.Local) {
			rows = append(rows, desired.IngressSource{Namespace: guard.Namespace, From: gate.Host, As: v.Overlay.Local})
		}
	}
	return rows
}

// lead is the row of one published port at one address of the namespace. One that is sticky is dealt alike by all hosts:
// a client may come by any of them. Who was led elsewhere before a port became local stays there.
func lead(v driver.View, to desired.Frontend, all []driver.Member) desired.Balance {
	row := desired.Balance{Namespace: Namespace(v.Network.ID), To: to}
	for _, m := range all {
		for _, p := range m.Service.Ingress {
			if p.Protocol != to.Protocol || p.Published != to.Port {
				continue
			}
			row.Sticky = row.Sticky || p.Sticky
			list := &row.Draining
			if m.Serving && (!p.Local || m.VTEP == v.Overlay.Local) {
				list = &row.Backends
			}
			for _, a := range m.Addrs {
				if model.FamilyOf(a) == model.FamilyOf(to.Addr) {
					*list = append(*list, netip.AddrPortFrom(a, p.Target))
				}
			}
		}
	}
	if v.Overlay.Local.IsValid() && !row.Sticky {
		row.Salt = v.Overlay.Local.String()
	}
	for _, list := range []*[]netip.AddrPort{&row.Backends, &row.Draining} {
		slices.SortFunc(*list, netip.AddrPort.Compare)
		*list = slices.Compact(*list)
	}
	return row
}

// planWays plans what other hosts may reach here, and how answers find back to them.
func planWays(v driver.View, tunnel string) (rows []desired.Row) {
	if !v.Network.Ingress {
		return nil
	}
	ns := Namespace(v.Network.ID)
	marks := nodeMarks(v)
	for _, vtep := range slices.SortedFunc(maps.Keys(marks), netip.Addr.Compare) {
		mark := marks[vtep]
		rows = append(rows, desired.IngressNode{Namespace: ns, MAC: MAC(vtep), Mark: mark})
		for _, f := range model.Families {
			if !v.Network.Enabled(f) {
				continue
			}
			via := nodeRouter(mark, f)
			rows = append(rows,
				desired.Lookup{Namespace: ns, Family: f, Mark: mark, Table: mark},
				desired.Route{Namespace: ns, Table: mark, Destination: netip.PrefixFrom(f.Unspecified(), 0), Gateway: via, Link: tunnel},
				desired.Neigh{Namespace: ns, Link: tunnel, IP: via, MAC: MAC(vtep)})
		}
	}
	targets := map[desired.IngressTarget]bool{}
	for _, m := range byClaim(v.Members) {
		if m.VTEP != v.Overlay.Local {
			continue
		}
		for _, p := range m.Service.Ingress {
			for _, a := range m.Addrs {
				row := desired.IngressTarget{Namespace: ns, Protocol: p.Protocol, Addr: a, Port: p.Target}
				if !targets[row] {
					targets[row] = true
					rows = append(rows, row)
				}
			}
		}
	}
	return rows
}

// nodeMarks are the marks of connections that other hosts have let in, each the number of the
// routing table that leads their answers there. A mark follows from the address of its host, so
// that it stays the same while connections go on. Of two whose marks would mean the same router
// the one with the higher address gets another.
func nodeMarks(v driver.View) map[netip.Addr]uint32 {
	var hosts []netip.Addr
	for _, r := range v.Overlay.Remotes {
		if r.VTEP != v.Overlay.Local && r.VTEP.IsValid() {
			hosts = append(hosts, r.VTEP)
		}
	}
	slices.SortFunc(hosts, netip.Addr.Compare)
	taken, out := map[netip.Addr]bool{nodeRouter(desired.GateMark, model.IPv4): true}, map[netip.Addr]uint32{}
	for _, host := range slices.Compact(hosts) {
		mark := nodeMark(host, 0)
		for again := byte(1); taken[nodeRouter(mark, model.IPv4)] && again != 0; again++ {
			mark = nodeMark(host, again)
		}
		taken[nodeRouter(mark, model.IPv4)], out[host] = true, mark
	}
	return out
}

// nodeMark is the first mark that a host would have, or one of those to be tried after it.
func nodeMark(vtep netip.Addr, again byte) uint32 {
	if vtep.Is4() && again == 0 {
		b := vtep.As4()
		return desired.GateMark | binary.BigEndian.Uint32(b[:])
	}
	b := vtep.As16()
	h := fnv.New32a()
	_, _ = h.Write(b[:]) // it does not fail
	if again > 0 {
		_, _ = h.Write([]byte{again})
	}
	return desired.GateMark | h.Sum32()
}

// nodeRouter is an address that stands for another host in the routing table of its mark,
// and nowhere else: one of 240.0.0.0/4 (RFC 1112), which nobody has, or a link-local one.
func nodeRouter(mark uint32, f model.Family) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], mark|0xf0000000)
	if f == model.IPv4 {
		return netip.AddrFrom4(b)
	}
	return netip.MustParseAddr(fmt.Sprintf("fe80::6c73:%x:%x", mark>>16, mark&0xffff))
}

// planAnswers plans how a container that published ports lead to answers: by the network,
// wherever its other networks would lead to the client. Of datagrams that a server sends
// without saying from which address, the port says that; those to its other networks' own
// subnets still go there.
func planAnswers(v driver.View) (rows []desired.Row) {
	e, inside := *v.Endpoint, model.NamespaceOf(v.Sandbox.Container)
	if !v.Network.Ingress || e.Service == nil || len(e.Service.Ingress) == 0 {
		return nil
	}
	for _, f := range model.Families {
		a := e.Address(f)
		if !a.IsValid() {
			continue
		}
		via := router
		if f == model.IPv4 {
			p, _ := v.Network.PoolOf(a)
			if via = p.Gateway; !via.IsValid() {
				via = p.Subnet.Masked().Addr().Next() // the namespace answers for all addresses
			}
		}
		rows = append(rows,
			desired.Lookup{Namespace: inside, Family: f, From: a, Table: desired.AnswerTable},
			desired.Route{Namespace: inside, Table: desired.AnswerTable, Destination: netip.PrefixFrom(f.Unspecified(), 0), Gateway: via, Link: e.Interface})
		for _, port := range datagramPorts(e.Service.Ingress) {
			rows = append(rows,
				desired.Lookup{Namespace: inside, Family: f, Protocol: model.UDP, Port: port},
				desired.Lookup{Namespace: inside, Family: f, Protocol: model.UDP, Port: port, Table: desired.AnswerTable})
		}
	}
	return rows
}

// datagramPorts returns the UDP ports that published ones lead to, each once.
func datagramPorts(all []model.IngressPort) (out []uint16) {
	for _, p := range slices.SortedFunc(slices.Values(all), func(a, b model.IngressPort) int { return cmp.Compare(a.Target, b.Target) }) {
		if p.Protocol == model.UDP && !slices.Contains(out, p.Target) {
			out = append(out, p.Target)
		}
	}
	return out
}
