package nft

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// The small language that rules are written in. A field.Load puts a property of the
// packet into a register; a match compares; a rule is matches and a verdict:
//
//	drop("why", in("internal", field.IIFName))

type match []expr.Any

func compare(l field.Load, op expr.CmpOp, data []byte) match {
	return match{l(unix.NFT_REG_1), &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: data}}
}

func is(l field.Load, data ...byte) match { return compare(l, expr.CmpOpEq, data) }

func isNot(l field.Load, data ...byte) match { return compare(l, expr.CmpOpNeq, data) }

// under matches a value within the prefix that base and mask describe,
// notUnder every other.
func under(l field.Load, base, mask []byte) match { return masked(l, expr.CmpOpEq, base, mask) }

func notUnder(l field.Load, base, mask []byte) match { return masked(l, expr.CmpOpNeq, base, mask) }

func masked(l field.Load, op expr.CmpOp, base, mask []byte) match {
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
func in(set string, loads ...field.Load) match { return lookup(set, false, loads) }

func notIn(set string, loads ...field.Load) match { return lookup(set, true, loads) }

func lookup(set string, invert bool, loads []field.Load) match {
	var m match
	for i, l := range loads {
		m = append(m, l(unix.NFT_REG_1+uint32(i)))
	}
	return append(m, &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: set, Invert: invert})
}

// part is a load together with the number of 32-bit registers that it fills in a
// concatenation.
type part struct {
	load  field.Load
	words uint32
}

func iifPart() part       { return part{field.IIFName, 4} }
func familyPart() part    { return part{field.Family, 1} }
func transportPart() part { return part{field.Protocol, 1} }
func ip4Part() part       { return part{field.IP4Destination, 1} }
func ip6Part() part       { return part{field.IP6Destination, 4} }
func portPart() part      { return part{field.Transport(2, 2), 1} }
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
