// Package packetfilter compiles what a user writes about packets, in a part of the words of
// pcap-filter(7), into classic BPF (bpf(4), linux/filter.h) for Ethernet frames.
//
//	"tcp port 80 and not host web" ─▶ Parse ─▶ Filter ─▶ Compile ─▶ instructions
//
// What it knows:
//
//	ip  ip6  arp  tcp  udp  sctp  icmp  icmp6
//	[src|dst] host ADDRESS|NAME   [src|dst] net PREFIX
//	[tcp|udp|sctp] [src|dst] port PORT|FIRST-LAST
//	and (&&)  or (||)  not (!)  ( )
//
// As in tcpdump, a port is looked for in the first part of a packet that came in parts, and
// behind IPv6's header only where no other header stands between. It is pure.
package packetfilter

import (
	"net/netip"

	"golang.org/x/net/bpf"
)

// Filter is a condition on frames. The zero Filter takes every frame.
type Filter struct{ root node }

// node is a condition.
type node interface{ isNode() }

type (
	allOf   []node            // none: true
	anyOf   []node            // none: false
	negated struct{ of node } // the opposite
	test    struct {          // what is loaded, masked, compares with a value
		load  bpf.Instruction // of a register A; it may need loadHeader before it
		ahead bool            // X is to be the length of the IPv4 header first
		mask  uint32          // 0: none
		cond  bpf.JumpTest
		value uint32
	}
)

func (allOf) isNode()   {}
func (anyOf) isNode()   {}
func (negated) isNode() {}
func (test) isNode()    {}

// Offsets in an Ethernet frame (IEEE 802.3), and in what it carries behind that (RFC 791,
// 826, 8200).
const (
	etherType = 12
	header    = 14

	ip4Fragment, ip4Protocol, ip4Source, ip4Target = header + 6, header + 9, header + 12, header + 16
	arpSource, arpTarget                           = header + 14, header + 24
	ip6Next, ip6Source, ip6Target                  = header + 6, header + 8, header + 24
	ip6Payload                                     = header + 40
)

// Values of the fields.
const (
	typeIPv4, typeARP, typeIPv6 = 0x0800, 0x0806, 0x86dd

	protoICMP, protoTCP, protoUDP, protoICMP6, protoSCTP = 1, 6, 17, 58, 132

	fragmentOffset = 0x1fff
)

func equals(offset uint32, size int, value uint32) test {
	return test{load: bpf.LoadAbsolute{Off: offset, Size: size}, cond: bpf.JumpEqual, value: value}
}

func ethernet(kind uint32) node { return equals(etherType, 2, kind) }

// direction is which of a packet's two ends is meant; either, if none is.
type direction string

const (
	source direction = "src"
	target direction = "dst"
)

func (d direction) of(src, dst node) node {
	switch d {
	case source:
		return src
	case target:
		return dst
	}
	return anyOf{src, dst}
}

// inNet is a packet, or ARP, from or to an address of a prefix.
func inNet(p netip.Prefix, d direction) node {
	if p.Addr().Is4() {
		return anyOf{
			allOf{ethernet(typeIPv4), d.of(net4(p, ip4Source), net4(p, ip4Target))},
			allOf{ethernet(typeARP), d.of(net4(p, arpSource), net4(p, arpTarget))},
		}
	}
	return allOf{ethernet(typeIPv6), d.of(net6(p, ip6Source), net6(p, ip6Target))}
}

func net4(p netip.Prefix, offset uint32) node {
	a := p.Masked().Addr().As4()
	return word(a[:], p.Bits(), offset)
}

func net6(p netip.Prefix, offset uint32) node {
	a := p.Masked().Addr().As16()
	out := allOf{}
	for i, bits := 0, p.Bits(); bits > 0; i, bits = i+4, bits-32 {
		out = append(out, word(a[i:i+4], min(bits, 32), offset+uint32(i)))
	}
	return out
}

// word is four bytes of an address, of which so many bits count.
func word(b []byte, bits int, offset uint32) node {
	if bits == 0 {
		return allOf{}
	}
	t := equals(offset, 4, uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]))
	if bits < 32 {
		t.mask = ^uint32(0) << (32 - bits)
	}
	return t
}

// transport is a packet of IPv4 or IPv6 with one of the protocols.
func transport(protocols ...uint32) node {
	return anyOf{allOf{ethernet(typeIPv4), oneOf(ip4Protocol, protocols)}, allOf{ethernet(typeIPv6), oneOf(ip6Next, protocols)}}
}

func oneOf(offset uint32, values []uint32) node {
	out := anyOf{}
	for _, v := range values {
		out = append(out, equals(offset, 1, v))
	}
	return out
}

// withPort is a packet of one of the protocols from or to a port of a range.
func withPort(first, last uint16, d direction, protocols ...uint32) node {
	four := func(at uint32) node {
		return between(func(cond bpf.JumpTest, v uint32) node {
			return test{load: bpf.LoadIndirect{Off: header + at, Size: 2}, ahead: true, cond: cond, value: v}
		}, first, last)
	}
	six := func(at uint32) node {
		return between(func(cond bpf.JumpTest, v uint32) node {
			return test{load: bpf.LoadAbsolute{Off: ip6Payload + at, Size: 2}, cond: cond, value: v}
		}, first, last)
	}
	whole := equals(ip4Fragment, 2, 0)
	whole.mask = fragmentOffset
	return anyOf{
		allOf{ethernet(typeIPv4), oneOf(ip4Protocol, protocols), whole, d.of(four(0), four(2))},
		allOf{ethernet(typeIPv6), oneOf(ip6Next, protocols), d.of(six(0), six(2))},
	}
}

func between(is func(bpf.JumpTest, uint32) node, first, last uint16) node {
	if first == last {
		return is(bpf.JumpEqual, uint32(first))
	}
	return allOf{is(bpf.JumpGreaterOrEqual, uint32(first)), is(bpf.JumpLessOrEqual, uint32(last))}
}
