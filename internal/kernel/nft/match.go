package nft

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The small language that rules are written in. A load puts a property of the
// packet into a register; a match compares; a rule is matches and a verdict:
//
//	drop("why", in("internal", iifName))

type (
	load  func(register uint32) expr.Any
	match []expr.Any
)

func meta(key expr.MetaKey) load {
	return func(reg uint32) expr.Any { return &expr.Meta{Key: key, Register: reg} }
}

func payload(base expr.PayloadBase, offset, size uint32) load {
	return func(reg uint32) expr.Any {
		return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: size}
	}
}

func linkField(offset, size uint32) load { return payload(expr.PayloadBaseLLHeader, offset, size) }

func networkField(offset, size uint32) load {
	return payload(expr.PayloadBaseNetworkHeader, offset, size)
}

func transportField(offset, size uint32) load {
	return payload(expr.PayloadBaseTransportHeader, offset, size)
}

// What rules look at. Offsets are those of the headers' RFCs: 826 (ARP), 791,
// 8200, 4861 (neighbour discovery).
func iifName(reg uint32) expr.Any  { return meta(expr.MetaKeyIIFNAME)(reg) }
func oifName(reg uint32) expr.Any  { return meta(expr.MetaKeyOIFNAME)(reg) }
func iifGroup(reg uint32) expr.Any { return meta(expr.MetaKeyIIFGROUP)(reg) }
func oifGroup(reg uint32) expr.Any { return meta(expr.MetaKeyOIFGROUP)(reg) }
func family(reg uint32) expr.Any   { return meta(expr.MetaKeyNFPROTO)(reg) }
func protocol(reg uint32) expr.Any { return meta(expr.MetaKeyL4PROTO)(reg) }

func etherDestination(reg uint32) expr.Any { return linkField(0, 6)(reg) }
func etherSource(reg uint32) expr.Any      { return linkField(6, 6)(reg) }
func etherType(reg uint32) expr.Any        { return linkField(12, 2)(reg) }

func arpHardware(reg uint32) expr.Any  { return networkField(0, 2)(reg) }
func arpProtocol(reg uint32) expr.Any  { return networkField(2, 2)(reg) }
func arpLengths(reg uint32) expr.Any   { return networkField(4, 2)(reg) }
func arpOperation(reg uint32) expr.Any { return networkField(6, 2)(reg) }
func arpSenderMAC(reg uint32) expr.Any { return networkField(8, 6)(reg) }
func arpSenderIP(reg uint32) expr.Any  { return networkField(14, 4)(reg) }
func arpTargetIP(reg uint32) expr.Any  { return networkField(24, 4)(reg) }

func ip4Source(reg uint32) expr.Any { return networkField(12, 4)(reg) }
func ip6Source(reg uint32) expr.Any { return networkField(8, 16)(reg) }

func ip4Destination(reg uint32) expr.Any { return networkField(16, 4)(reg) }
func ip6Destination(reg uint32) expr.Any { return networkField(24, 16)(reg) }

// destinationType is what the destination is to this host, an RTN_* number of
// linux/rtnetlink.h in host byte order.
func destinationType(reg uint32) expr.Any {
	return &expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true}
}

// destinationHere is the same by the addresses of the incoming interface alone: those
// of the host's other interfaces are RTN_UNICAST.
func destinationHere(reg uint32) expr.Any {
	return &expr.Fib{Register: reg, FlagDADDR: true, FlagIIF: true, ResultADDRTYPE: true}
}

func sourcePort(reg uint32) expr.Any { return transportField(0, 2)(reg) }
func icmp6Type(reg uint32) expr.Any  { return transportField(0, 1)(reg) }
func ndTarget(reg uint32) expr.Any   { return transportField(8, 16)(reg) }

func compare(l load, op expr.CmpOp, data []byte) match {
	return match{l(unix.NFT_REG_1), &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: data}}
}

func is(l load, data ...byte) match { return compare(l, expr.CmpOpEq, data) }

func isNot(l load, data ...byte) match { return compare(l, expr.CmpOpNeq, data) }

// under matches a value within the prefix that base and mask describe,
// notUnder every other.
func under(l load, base, mask []byte) match { return masked(l, expr.CmpOpEq, base, mask) }

func notUnder(l load, base, mask []byte) match { return masked(l, expr.CmpOpNeq, base, mask) }

func masked(l load, op expr.CmpOp, base, mask []byte) match {
	return match{
		l(unix.NFT_REG_1),
		&expr.Bitwise{
			SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1,
			Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
		},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: base},
	}
}

// in matches if the concatenation of loads is an element of the set. Every load
// but the last must be 16 bytes long, a whole register.
func in(set string, loads ...load) match { return lookup(set, false, loads) }

func notIn(set string, loads ...load) match { return lookup(set, true, loads) }

func lookup(set string, invert bool, loads []load) match {
	var m match
	for i, l := range loads {
		m = append(m, l(unix.NFT_REG_1+uint32(i)))
	}
	return append(m, &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: set, Invert: invert})
}

// part is a load together with the number of 32-bit registers that it fills in a
// concatenation.
type part struct {
	load  load
	words uint32
}

func iifPart() part       { return part{iifName, 4} }
func familyPart() part    { return part{family, 1} }
func transportPart() part { return part{protocol, 1} }
func ip4Part() part       { return part{ip4Destination, 1} }
func ip6Part() part       { return part{ip6Destination, 4} }
func portPart() part      { return part{transportField(2, 2), 1} }
func orig4Part() part     { return part{ctOriginal(ctDestination4), 1} }
func orig6Part() part     { return part{ctOriginal(ctDestination6), 4} }
func origPortPart() part  { return part{ctOriginal(expr.CtKeyPROTODST), 1} }

// joined loads a concatenation.
func joined(parts []part) (m match) {
	for i, p := range parts {
		m = append(m, p.load(register(words(parts[:i]))))
	}
	return m
}

// words is how long a concatenation is.
func words(parts []part) (n uint32) {
	for _, p := range parts {
		n += p.words
	}
	return n
}

// register is the register that starts at a 32-bit word, by the name that the
// kernel gives it: those at whole 128 bits have names of their own.
func register(word uint32) uint32 {
	const words = 4
	if word%words == 0 {
		return unix.NFT_REG_1 + word/words
	}
	return unix.NFT_REG32_00 + word
}

// inJoined matches if the concatenation of parts is an element of the set.
func inJoined(set string, parts ...part) match {
	return append(joined(parts), &expr.Lookup{SourceRegister: register(0), SetName: set})
}

func notInJoined(set string, parts ...part) match {
	return append(joined(parts), &expr.Lookup{SourceRegister: register(0), SetName: set, Invert: true})
}

func drop(why string, when ...match) rule {
	return decide(why, &expr.Verdict{Kind: expr.VerdictDrop}, when)
}

func accept(why string, when ...match) rule {
	return decide(why, &expr.Verdict{Kind: expr.VerdictAccept}, when)
}

func jump(why, chain string, when ...match) rule {
	return decide(why, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}, when)
}

func masquerade(why string, when ...match) rule { return decide(why, &expr.Masq{}, when) }

func decide(why string, verdict expr.Any, when []match) rule {
	return rule{comment: why, exprs: append(slices.Concat(when...), verdict)}
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
