// Package field has what rules of nftables look at: properties of a packet and fields of its headers (nft(8), PAYLOAD
// EXPRESSIONS and META EXPRESSIONS), each as the expression that loads it into a register.
//
//	is(field.IIFName, …)    the interface that it came in by
//
// It knows no rule, and no set.
package field

import "github.com/google/nftables/expr"

// Load returns the expression that puts a property of the packet into a register.
type Load func(register uint32) expr.Any

// Meta loads what the kernel knows of a packet besides its bytes.
func Meta(key expr.MetaKey) Load {
	return func(reg uint32) expr.Any { return &expr.Meta{Key: key, Register: reg} }
}

func payload(base expr.PayloadBase, offset, size uint32) Load {
	return func(reg uint32) expr.Any {
		return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: size}
	}
}

// Link loads bytes of the link layer's header; offset and size are in bytes, as with those below.
func Link(offset, size uint32) Load { return payload(expr.PayloadBaseLLHeader, offset, size) }

// Network loads bytes of the network layer's header.
func Network(offset, size uint32) Load { return payload(expr.PayloadBaseNetworkHeader, offset, size) }

// Transport loads bytes of the transport layer's header.
func Transport(offset, size uint32) Load {
	return payload(expr.PayloadBaseTransportHeader, offset, size)
}

// The way of the packet, and what it is.
func IIFName(reg uint32) expr.Any  { return Meta(expr.MetaKeyIIFNAME)(reg) }
func OIFName(reg uint32) expr.Any  { return Meta(expr.MetaKeyOIFNAME)(reg) }
func IIFGroup(reg uint32) expr.Any { return Meta(expr.MetaKeyIIFGROUP)(reg) }
func OIFGroup(reg uint32) expr.Any { return Meta(expr.MetaKeyOIFGROUP)(reg) }
func Family(reg uint32) expr.Any   { return Meta(expr.MetaKeyNFPROTO)(reg) }
func Protocol(reg uint32) expr.Any { return Meta(expr.MetaKeyL4PROTO)(reg) }

// Ethernet (IEEE 802.3).
func EtherDestination(reg uint32) expr.Any { return Link(0, 6)(reg) }
func EtherSource(reg uint32) expr.Any      { return Link(6, 6)(reg) }
func EtherType(reg uint32) expr.Any        { return Link(12, 2)(reg) }

// ARP over Ethernet for IPv4 (RFC 826).
func ARPHardware(reg uint32) expr.Any  { return Network(0, 2)(reg) }
func ARPProtocol(reg uint32) expr.Any  { return Network(2, 2)(reg) }
func ARPLengths(reg uint32) expr.Any   { return Network(4, 2)(reg) }
func ARPOperation(reg uint32) expr.Any { return Network(6, 2)(reg) }
func ARPSenderMAC(reg uint32) expr.Any { return Network(8, 6)(reg) }
func ARPSenderIP(reg uint32) expr.Any  { return Network(14, 4)(reg) }
func ARPTargetIP(reg uint32) expr.Any  { return Network(24, 4)(reg) }

// IPv4 (RFC 791) and IPv6 (RFC 8200).
func IP4Source(reg uint32) expr.Any      { return Network(12, 4)(reg) }
func IP6Source(reg uint32) expr.Any      { return Network(8, 16)(reg) }
func IP4Destination(reg uint32) expr.Any { return Network(16, 4)(reg) }
func IP6Destination(reg uint32) expr.Any { return Network(24, 16)(reg) }

// DestinationType is what the destination is to this host, an RTN_* number of
// linux/rtnetlink.h in host byte order.
func DestinationType(reg uint32) expr.Any {
	return &expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true}
}

// DestinationHere is the same by the addresses of the incoming interface alone: those
// of the host's other interfaces are RTN_UNICAST.
func DestinationHere(reg uint32) expr.Any {
	return &expr.Fib{Register: reg, FlagDADDR: true, FlagIIF: true, ResultADDRTYPE: true}
}

// TCP, UDP and their like; ICMPv6, and the target of neighbour discovery (RFC 4861).
func SourcePort(reg uint32) expr.Any { return Transport(0, 2)(reg) }
func ICMP6Type(reg uint32) expr.Any  { return Transport(0, 1)(reg) }
func NDTarget(reg uint32) expr.Any   { return Transport(8, 16)(reg) }
