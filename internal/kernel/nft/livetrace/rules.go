package livetrace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// Question says which packets are followed.
type Question struct {
	Protocol model.Protocol // empty: echo requests
	From     netip.Addr     // invalid: whoever sends
	Targets  []netip.AddrPort
}

const (
	// tableOwner is NFT_TABLE_F_OWNER (Linux 5.12): the table ends with the socket that
	// made it, however its process ends.
	tableOwner = 2
	// priority is before connection tracking and before all rules that others have
	// (raw: -300), behind the putting together of fragments (-400).
	priority = -350
)

// Prefix is how names of our tables begin; the number of the process follows.
const Prefix = "linkspan-trace-"

func tableName() string { return fmt.Sprintf("%s%d", Prefix, os.Getpid()) }

// hooks are where packets are marked, by family: where they come into a namespace, and
// where they begin there.
var hooks = map[byte][]struct {
	name   string
	number uint32
}{
	unix.NFPROTO_INET:   {{"prerouting", unix.NF_INET_PRE_ROUTING}, {"output", unix.NF_INET_LOCAL_OUT}},
	unix.NFPROTO_BRIDGE: {{"prerouting", unix.NF_INET_PRE_ROUTING}},
}

// table returns what makes a table that marks packets, of one family.
func table(family byte, q Question) ([]wire.Message, error) {
	name, before := tableName(), int32(priority)
	message := func(kind, flags uint16, a wire.Attrs) wire.Message {
		return wire.Message{Kind: kind, Flags: flags, Family: family, Attrs: a, What: wire.Subject{Table: name}}
	}
	out := []wire.Message{message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, wire.Attrs(nil).Str(unix.NFTA_TABLE_NAME, name).U32(unix.NFTA_TABLE_FLAGS, tableOwner))}
	for _, h := range hooks[family] {
		hook := wire.Attrs(nil).U32(unix.NFTA_HOOK_HOOKNUM, h.number).U32(unix.NFTA_HOOK_PRIORITY, uint32(before))
		a := wire.Attrs(nil).Str(unix.NFTA_CHAIN_TABLE, name).Str(unix.NFTA_CHAIN_NAME, h.name)
		a = a.Nest(unix.NFTA_CHAIN_HOOK, hook).U32(unix.NFTA_CHAIN_POLICY, codeAccept).Str(unix.NFTA_CHAIN_TYPE, "filter")
		out = append(out, message(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, a))
		for _, t := range q.Targets {
			for _, exprs := range [][]expr.Any{forward(family, q, t), backward(family, q, t)} {
				var list wire.Attrs
				for _, e := range exprs {
					b, err := expr.Marshal(family, e)
					if err != nil {
						return nil, err
					}
					list = list.Nest(unix.NFTA_LIST_ELEM, b)
				}
				a := wire.Attrs(nil).Str(unix.NFTA_RULE_TABLE, name).Str(unix.NFTA_RULE_CHAIN, h.name).Nest(unix.NFTA_RULE_EXPRESSIONS, list)
				out = append(out, message(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, a))
			}
		}
	}
	return out, nil
}

// Flags of TCP (RFC 9293), and types of ICMP and ICMPv6 that echo.
const (
	syn, rst, ack            = 2, 4, 16
	echoRequest, echoReply   = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

// forward matches the first packet of a connection to the target.
func forward(family byte, q Question, to netip.AddrPort) []expr.Any {
	out := network(family, to.Addr(), targetOf(to.Addr()))
	if q.From.IsValid() && q.From.Is4() == to.Addr().Is4() {
		out = append(out, compare(payload(expr.PayloadBaseNetworkHeader, sourceOf(q.From), uint32(q.From.BitLen()/8)), q.From.AsSlice()...)...)
	}
	out = append(out, transport(q.Protocol, to)...)
	switch {
	case q.Protocol == "":
		out = append(out, compare(payload(expr.PayloadBaseTransportHeader, 0, 1), echo(to.Addr(), echoRequest, echoRequest6))...)
	default:
		out = append(out, compare(payload(expr.PayloadBaseTransportHeader, 2, 2), port(to)...)...)
	}
	if q.Protocol == model.TCP {
		out = append(out, flags(syn|ack, expr.CmpOpEq, syn)...)
	}
	return append(out, mark()...)
}

// backward matches the answer to it: of TCP, that which opens the connection or refuses it.
func backward(family byte, q Question, from netip.AddrPort) []expr.Any {
	out := append(network(family, from.Addr(), sourceOf(from.Addr())), transport(q.Protocol, from)...)
	switch {
	case q.Protocol == "":
		out = append(out, compare(payload(expr.PayloadBaseTransportHeader, 0, 1), echo(from.Addr(), echoReply, echoReply6))...)
	default:
		out = append(out, compare(payload(expr.PayloadBaseTransportHeader, 0, 2), port(from)...)...)
	}
	if q.Protocol == model.TCP {
		out = append(out, flags(syn|rst, expr.CmpOpNeq, 0)...)
	}
	return append(out, mark()...)
}

func echo(a netip.Addr, four, six byte) byte {
	if a.Is4() {
		return four
	}
	return six
}

// Offsets of addresses in headers of IPv4 and IPv6.
func sourceOf(a netip.Addr) uint32 {
	if a.Is4() {
		return 12
	}
	return 8
}

func targetOf(a netip.Addr) uint32 {
	if a.Is4() {
		return 16
	}
	return 24
}

// network matches an address at an offset of the header of its family.
func network(family byte, a netip.Addr, offset uint32) []expr.Any {
	kind := &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}
	value := []byte{unix.NFPROTO_IPV4}
	if a.Is6() {
		value = []byte{unix.NFPROTO_IPV6}
	}
	if family == unix.NFPROTO_BRIDGE {
		kind = &expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}
		value = binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)
		if a.Is6() {
			value = binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6)
		}
	}
	return append(compare(kind, value...), compare(payload(expr.PayloadBaseNetworkHeader, offset, uint32(a.BitLen()/8)), a.AsSlice()...)...)
}

func transport(p model.Protocol, at netip.AddrPort) []expr.Any {
	number := p.Number()
	if p == "" {
		number = unix.IPPROTO_ICMP
		if at.Addr().Is6() {
			number = unix.IPPROTO_ICMPV6
		}
	}
	return compare(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, number)
}

func payload(base expr.PayloadBase, offset, size uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: size}
}

func port(at netip.AddrPort) []byte { return binary.BigEndian.AppendUint16(nil, at.Port()) }

func compare(load expr.Any, value ...byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func flags(mask byte, op expr.CmpOp, value byte) []expr.Any {
	return []expr.Any{
		payload(expr.PayloadBaseTransportHeader, 13, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{mask}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{value}},
	}
}

// mark has the kernel tell of all rules that the packet meets from here on.
func mark() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKey(unix.NFT_META_NFTRACE), SourceRegister: true, Register: 1},
	}
}
