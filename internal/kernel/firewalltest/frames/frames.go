// Package frames builds Ethernet frames byte by byte, because most of those that tests of
// firewalls send no honest stack would; and it reads what such tests look at.
//
// Each frame carries a mark by which it is known again wherever it turns up. It must
// never be imported outside tests.
package frames

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
)

// EtherTypes.
const (
	IPv4 = 0x0800
	ARP  = 0x0806
	VLAN = 0x8100
	IPv6 = 0x86dd
	Test = 0x88b5 // IEEE 802: local experimental
)

// Protocols of IP.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
)

// MAC addresses of groups.
const (
	Broadcast = "ff:ff:ff:ff:ff:ff"
	AllNodes  = "33:33:00:00:00:01"
)

// MAC reads a MAC address; one that is none panics.
func MAC(s string) net.HardwareAddr {
	mac, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return mac
}

// Mark is eight bytes, which also makes it a neighbour discovery option.
func Mark(id int) []byte {
	return binary.BigEndian.AppendUint32([]byte{253, 1, 'L', 'S'}, uint32(id))
}

// Ether is a frame of an EtherType.
func Ether(dst, src string, kind uint16, payload ...[]byte) []byte {
	b := append(slices.Clone([]byte(MAC(dst))), MAC(src)...)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, slices.Concat(payload...)...)
}

// Header is between whom a frame goes: MAC addresses, and addresses of one family.
type Header struct {
	dstMAC, srcMAC, src, dst string
}

// Between is the header of frames to a MAC address from another, and from an address to
// another.
func Between(dstMAC, srcMAC, src, dst string) Header { return Header{dstMAC, srcMAC, src, dst} }

// ARP is a request if op is 1, an answer if it is 2, of which the addresses are the
// sender's and the target's. The mark is in the padding.
func (h Header) ARP(op byte, senderMAC string, id int) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, op}
	b = append(append(b, MAC(senderMAC)...), netip.MustParseAddr(h.src).AsSlice()...)
	b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(h.dst).AsSlice()...)
	return Ether(h.dstMAC, h.srcMAC, ARP, b, Mark(id), make([]byte, 10))
}

// IP is an IPv4 or IPv6 packet, by its addresses.
func (h Header) IP(protocol byte, payload []byte) []byte {
	s, d := netip.MustParseAddr(h.src), netip.MustParseAddr(h.dst)
	if s.Is6() {
		b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(payload)))
		b = append(b, protocol, 255)
		return Ether(h.dstMAC, h.srcMAC, IPv6, b, s.AsSlice(), d.AsSlice(), payload)
	}
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(payload)))
	b = append(b, 0, 0, 0, 0, 64, protocol, 0, 0)
	b = slices.Concat(b, s.AsSlice(), d.AsSlice())
	binary.BigEndian.PutUint16(b[10:], Checksum(b))
	return Ether(h.dstMAC, h.srcMAC, IPv4, b, payload)
}

// UDP is a datagram.
func (h Header) UDP(sport, dport uint16, id int) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(binary.BigEndian.AppendUint16(b, 16), 0, 0)
	b = append(b, Mark(id)...)
	binary.BigEndian.PutUint16(b[6:], h.transportSum(UDP, b))
	return h.IP(UDP, b)
}

// Flags of a TCP segment (RFC 9293).
const (
	FIN, SYN, RST, ACK = 1, 2, 4, 16
)

// TCP is a segment from a port to another.
func (h Header) TCP(ports [2]uint16, flags byte, id int) []byte {
	b := binary.BigEndian.AppendUint16(nil, ports[0])
	b = binary.BigEndian.AppendUint16(b, ports[1])
	b = append(b, 0, 0, 1, 0, 0, 0, 0, 0, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, Mark(id)...)
	binary.BigEndian.PutUint16(b[16:], h.transportSum(TCP, b))
	return h.IP(TCP, b)
}

// ICMP6 has a body that follows the type, code and checksum.
func (h Header) ICMP6(kind byte, body []byte, id int) []byte {
	b := slices.Concat([]byte{kind, 0, 0, 0}, body, Mark(id))
	binary.BigEndian.PutUint16(b[2:], h.transportSum(ICMPv6, b))
	return h.IP(ICMPv6, b)
}

// Echo is an echo request of either family.
func (h Header) Echo(id int) []byte {
	body := []byte{byte(id >> 8), byte(id), 0, 1} // identifier and sequence number
	if netip.MustParseAddr(h.src).Is6() {
		return h.ICMP6(128, body, id)
	}
	b := slices.Concat([]byte{8, 0, 0, 0}, body, Mark(id))
	binary.BigEndian.PutUint16(b[2:], Checksum(b))
	return h.IP(ICMP, b)
}

// Advert is a neighbour advertisement to all nodes.
func Advert(srcMAC, src, target string, id int) []byte {
	body := append([]byte{0x20, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	return Between(AllNodes, srcMAC, src, "ff02::1").ICMP6(136, body, id)
}

func (h Header) transportSum(protocol byte, payload []byte) uint16 {
	pseudo := slices.Concat(netip.MustParseAddr(h.src).AsSlice(), netip.MustParseAddr(h.dst).AsSlice(),
		[]byte{0, protocol}, binary.BigEndian.AppendUint16(nil, uint16(len(payload))))
	return Checksum(append(pseudo, payload...))
}

// Checksum is that of RFC 1071.
func Checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
