package nft

import (
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/field"
)

// translatedMark is the bit of a packet's mark by which the table of family inet
// tells that of family bridge that a frame belongs to a published port. A bridge
// rule cannot ask itself: matching on connections would have the kernel track
// all frames of all bridges. The bit is set only on networks with icc=false, and
// taken off within the same hook; a container cannot set it, since a packet loses
// its mark as it leaves a network namespace.
const translatedMark = desired.AnswerMark

// tellFence marks answers for the host's own 127.0.0.1 that br_netfilter has shown to
// connection tracking before the bridge hands them over: their destination is no
// longer the bridge's address, and the fence of the bridge would take them for forged.
// Whoever wrote such an address himself was dropped before.
func tellFence() rule {
	loopback, mask := []byte{127, 0, 0, 0}, []byte{255, 0, 0, 0}
	return setMark("an answer for this host's 127.0.0.1", translatedMark, translatedMark,
		in(setBridges, field.IIFName), is(field.Family, unix.NFPROTO_IPV4), under(field.IP4Destination, loopback, mask))
}

// tellBridge marks frames of published ports that br_netfilter shows to the
// forward chain, both ways.
func tellBridge() rule {
	return setMark("to a published port of its own network, icc=false", translatedMark, translatedMark,
		translated(), in(setSame, field.IIFName, field.OIFName), notIn(setIntra, field.IIFName, field.OIFName))
}

// toldByForward accepts what tellBridge has marked, and takes the mark off.
func toldByForward() rule {
	told := native32(translatedMark)
	r := setMark("a published port, reached by way of br_netfilter", translatedMark, 0, under(packetMark, told, told))
	r.exprs = append(r.exprs, &expr.Verdict{Kind: expr.VerdictAccept})
	return r
}

// acceptMarked lets in what an administrator has marked. It is the one policy that is a
// rule: no set has masks.
func acceptMarked(s shape) []rule {
	if !s.marked {
		return nil
	}
	return []rule{accept("by its mark", in(setBridges, field.OIFName), under(packetMark, native32(s.accept.Mark), native32(s.accept.Mask)))}
}

func packetMark(reg uint32) expr.Any { return field.Meta(expr.MetaKeyMARK)(reg) }

// setMark makes a bit of the mark what is given, and leaves the others.
func setMark(why string, bit, value uint32, when ...match) rule {
	return rule{comment: why, exprs: append(slices.Concat(when...),
		packetMark(unix.NFT_REG_1),
		&expr.Bitwise{
			SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4,
			Mask: native32(^bit), Xor: native32(value),
		},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: unix.NFT_REG_1},
	)}
}
