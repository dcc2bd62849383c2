package nft

import (
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
	"github.com/linkspan/linkspan/internal/model"
)

// What the table of Options.Balance has besides on the swarm's ingress network. Clients keep
// their addresses, so answers cannot find their way by those: a connection bears the mark of
// where it came in, the gate of this host or the VXLAN of another, and so do its answers
// until they are routed.
//
//	mark    connections that begin, by where they come from; then answers, as the connection
//	guard   what is no connection to a published port is dropped
//	unmark  the mark is for this namespace: the host's rules shall not see it on the VXLAN's packets
//
// The sets are empty on other networks, and then the chains do nothing.
const (
	setTunnels  = "tunnels"
	setNodes    = "nodes"
	setShut     = "shut"
	setSources4 = "sources4"
	setSources6 = "sources6"
	setTargets4 = "targets4"
	setTargets6 = "targets6"
)

func ingressSets() []set {
	const targets, sources = "ports of containers here that are published", "addresses that many hosts have, and those that are this one's alone"
	return []set{
		{name: setTunnels, comment: "VXLANs that connections to published ports come by", key: []datatype{typeIfname}},
		{name: setNodes, comment: "marks of hosts that let connections in", key: []datatype{typeEther}, data: []datatype{datatypes.Mark}},
		{name: setShut, comment: "families of which nothing but published ports passes", key: []datatype{typeNFProto}, deny: true},
		{name: setSources4, comment: sources, key: []datatype{typeIPv4}, data: []datatype{typeIPv4}},
		{name: setSources6, comment: sources, key: []datatype{typeIPv6}, data: []datatype{typeIPv6}},
		{name: setTargets4, comment: targets, key: []datatype{typeTransport, typeIPv4, typePort}},
		{name: setTargets6, comment: targets, key: []datatype{typeTransport, typeIPv6, typePort}},
	}
}

func ingressChains() []chain {
	const priorityMangle, priorityGuard = -150, 1 // the guard is behind what refuses
	fromGate, toGate := is(field.IIFName, ifname(desired.Gate)...), is(field.OIFName, ifname(desired.Gate)...)
	byTunnel, udp := in(setTunnels, field.IIFName), is(field.Protocol, unix.IPPROTO_UDP)
	from4, from6 := part{field.IP4Source, 1}, part{field.IP6Source, 4}
	port := part{field.SourcePort, 1}
	return []chain{
		{"mark", base{"filter", unix.NF_INET_PRE_ROUTING, priorityMangle}, []rule{
			markConnection("came in here", fromGate, match{&expr.Immediate{Register: unix.NFT_REG_1, Data: native32(desired.GateMark)}}),
			markConnection("another host let it in", byTunnel, match{
				field.EtherSource(unix.NFT_REG_1), &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: setNodes, DestRegister: unix.NFT_REG_1, IsDestRegSet: true},
			}),
			{"an answer goes back there", append(append(isNot(connectionMark, native32(0)...), is(direction, 1)...),
				connectionMark(unix.NFT_REG_1), &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1})},
		}},
		{"guard", base{"filter", unix.NF_INET_FORWARD, priorityGuard}, []rule{
			accept("of a connection that was let in", answering()),
			accept("to a published port", translated()),
			accept("to a published port, by another host", byTunnel, is(field.Family, unix.NFPROTO_IPV4), inJoined(setTargets4, transportPart(), ip4Part(), portPart())),
			accept("to a published port, by another host", byTunnel, is(field.Family, unix.NFPROTO_IPV6), inJoined(setTargets6, transportPart(), ip6Part(), portPart())),
			accept("out of a published port", toGate, udp, is(field.Family, unix.NFPROTO_IPV4), inJoined(setTargets4, transportPart(), from4, port)),
			accept("out of a published port", toGate, udp, is(field.Family, unix.NFPROTO_IPV6), inJoined(setTargets6, transportPart(), from6, port)),
			drop("this network is for published ports alone", in(setShut, field.Family)),
		}},
		{"unmark", base{"filter", unix.NF_INET_POST_ROUTING, priorityMangle}, []rule{
			{"for this namespace only", append(isNot(packetMark, native32(0)...),
				&expr.Immediate{Register: unix.NFT_REG_1, Data: native32(0)}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1})},
		}},
	}
}

// gateRules are about sources. What containers themselves send out of a published port leaves
// under the namespace's address: the host knows no other. What comes in under an address that
// other hosts have as well gets one that they do not: of two connections with the same source
// and destination a task's host would take one for the other.
func gateRules() []rule {
	as := func(nfproto byte, set string, source field.Load) rule {
		first := register(0)
		return decide("under an address that is this host's alone",
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(nfproto), RegAddrMin: first, RegAddrMax: first},
			[]match{is(field.IIFName, ifname(desired.Gate)...), is(field.Family, nfproto),
				{source(first), &expr.Lookup{SourceRegister: first, SetName: set, DestRegister: first, IsDestRegSet: true}}})
	}
	return []rule{
		masquerade("leaves under this namespace's address", is(field.OIFName, ifname(desired.Gate)...)),
		as(unix.NFPROTO_IPV4, setSources4, field.IP4Source),
		as(unix.NFPROTO_IPV6, setSources6, field.IP6Source),
	}
}

// markConnection gives a connection that has none the mark that value loads: its first
// packet may have come before the host was known that had let it in.
func markConnection(why string, when, value match) rule {
	set := match{&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1}}
	return rule{why, slices.Concat(when, is(connectionMark, native32(0)...), is(direction, 0), value, set)}
}

func connectionMark(reg uint32) expr.Any { return &expr.Ct{Register: reg, Key: expr.CtKeyMARK} }

// direction is 0 for packets of who began the connection, 1 for the others.
func direction(reg uint32) expr.Any { return &expr.Ct{Register: reg, Key: expr.CtKeyDIRECTION} }

func renderIngressGuard(r desired.IngressGuard) ([]element, error) {
	out := []element{{set: setShut, key: string([]byte{unix.NFPROTO_IPV4})}, {set: setShut, key: string([]byte{unix.NFPROTO_IPV6})}}
	if r.Tunnel == "" {
		return out, nil
	}
	tunnel, err := nameKey(r.Tunnel)
	return append(out, element{set: setTunnels, key: tunnel}), err
}

func renderIngressNode(r desired.IngressNode) ([]element, error) {
	mac, err := macKey(r.MAC)
	return []element{{set: setNodes, key: mac, data: string(native32(r.Mark))}}, err
}

func renderIngressSource(r desired.IngressSource) ([]element, error) {
	from, as := r.From.Unmap(), r.As.Unmap()
	if !from.IsValid() || from.BitLen() != as.BitLen() {
		return nil, model.Errorf(model.Invalid, "ingress: %s as %s", r.From, r.As)
	}
	return []element{{set: pick(from, setSources4, setSources6), key: addrKey(from), data: addrKey(as)}}, nil
}

func renderIngressTarget(r desired.IngressTarget) ([]element, error) {
	a, number := r.Addr.Unmap(), r.Protocol.Number()
	if !a.IsValid() || number == 0 || r.Port == 0 {
		return nil, model.Errorf(model.Invalid, "ingress: %s is no port", r)
	}
	return []element{{set: pick(a, setTargets4, setTargets6), key: destinationKey(number, a, r.Port)}}, nil
}
