package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Frames are built byte by byte, because most of them no honest stack would
// send. Each carries a mark by which it is known again wherever it turns up.

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherVLAN = 0x8100
	etherIPv6 = 0x86dd
	etherTest = 0x88b5 // IEEE 802: local experimental

	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58

	broadcastMAC = "ff:ff:ff:ff:ff:ff"
	allNodesMAC  = "33:33:00:00:00:01"
)

// mark is eight bytes, which also makes it a neighbour discovery option.
func mark(id int) []byte {
	return binary.BigEndian.AppendUint32([]byte{253, 1, 'L', 'S'}, uint32(id))
}

func ether(dst, src string, kind uint16, payload ...[]byte) []byte {
	b := append(slices.Clone([]byte(parseMAC(dst))), parseMAC(src)...)
	b = binary.BigEndian.AppendUint16(b, kind)
	return append(b, slices.Concat(payload...)...)
}

// arpFrame is a request if op is 1, an answer if it is 2. The mark is in the
// padding.
func arpFrame(dst, src string, op byte, senderMAC, sender, target string, id int) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, op}
	b = append(append(b, parseMAC(senderMAC)...), netip.MustParseAddr(sender).AsSlice()...)
	b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(target).AsSlice()...)
	return ether(dst, src, etherARP, b, mark(id), make([]byte, 10))
}

// ipFrame is an IPv4 or IPv6 packet, by its addresses.
func ipFrame(dstMAC, srcMAC, src, dst string, protocol byte, payload []byte) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	if s.Is6() {
		b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(payload)))
		b = append(b, protocol, 255)
		return ether(dstMAC, srcMAC, etherIPv6, b, s.AsSlice(), d.AsSlice(), payload)
	}
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(payload)))
	b = append(b, 0, 0, 0, 0, 64, protocol, 0, 0)
	b = slices.Concat(b, s.AsSlice(), d.AsSlice())
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return ether(dstMAC, srcMAC, etherIPv4, b, payload)
}

func udpFrame(dstMAC, srcMAC, src, dst string, sport, dport uint16, id int) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = append(binary.BigEndian.AppendUint16(b, 16), 0, 0)
	b = append(b, mark(id)...)
	binary.BigEndian.PutUint16(b[6:], transportSum(src, dst, protocolUDP, b))
	return ipFrame(dstMAC, srcMAC, src, dst, protocolUDP, b)
}

// Flags of a TCP segment (RFC 9293).
const (
	tcpFIN, tcpSYN, tcpRST, tcpACK = 1, 2, 4, 16
)

func tcpFrame(dstMAC, srcMAC, src, dst string, ports [2]uint16, flags byte, id int) []byte {
	b := binary.BigEndian.AppendUint16(nil, ports[0])
	b = binary.BigEndian.AppendUint16(b, ports[1])
	b = append(b, 0, 0, 1, 0, 0, 0, 0, 0, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, mark(id)...)
	binary.BigEndian.PutUint16(b[16:], transportSum(src, dst, protocolTCP, b))
	return ipFrame(dstMAC, srcMAC, src, dst, protocolTCP, b)
}

// icmp6Frame has room for what follows the type, code and checksum.
func icmp6Frame(dstMAC, srcMAC, src, dst string, kind byte, body []byte, id int) []byte {
	b := slices.Concat([]byte{kind, 0, 0, 0}, body, mark(id))
	binary.BigEndian.PutUint16(b[2:], transportSum(src, dst, protocolICMPv6, b))
	return ipFrame(dstMAC, srcMAC, src, dst, protocolICMPv6, b)
}

// echoFrame is an echo request of either family.
func echoFrame(dstMAC, srcMAC, src, dst string, id int) []byte {
	body := []byte{byte(id >> 8), byte(id), 0, 1} // identifier and sequence number
	if netip.MustParseAddr(src).Is6() {
		return icmp6Frame(dstMAC, srcMAC, src, dst, 128, body, id)
	}
	b := slices.Concat([]byte{8, 0, 0, 0}, body, mark(id))
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return ipFrame(dstMAC, srcMAC, src, dst, protocolICMP, b)
}

// advertFrame is a neighbour advertisement to all nodes.
func advertFrame(srcMAC, src, target string, id int) []byte {
	body := append([]byte{0x20, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	return icmp6Frame(allNodesMAC, srcMAC, src, "ff02::1", 136, body, id)
}

func transportSum(src, dst string, protocol byte, payload []byte) uint16 {
	pseudo := slices.Concat(netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice(),
		[]byte{0, protocol}, binary.BigEndian.AppendUint16(nil, uint16(len(payload))))
	return checksum(append(pseudo, payload...))
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
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
