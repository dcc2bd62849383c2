package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// Ports of RFC 2131, section 4.1.
const (
	serverPort = 67
	clientPort = 68
)

// Sizes of headers, in bytes: Ethernet II, IPv4 without options, UDP, ARP for IPv4.
const (
	etherLen = 14
	ipLen    = 20
	udpLen   = 8
	arpLen   = 28
)

// Ethernet types (IEEE 802).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
)

// protocolUDP is that of the IPv4 header.
const protocolUDP = 17

// broadcastMAC is everybody.
var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// errForeign says that a frame is none of a server's.
var errForeign = errors.New("no answer of a DHCP server")

// path is from whom a message goes to whom.
type path struct {
	fromMAC, toMAC net.HardwareAddr
	from, to       netip.Addr
}

// toAll is how a client without an address speaks.
func toAll(mac net.HardwareAddr) path {
	return path{mac, broadcastMAC, netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})}
}

// pack returns the Ethernet frame of a message from a client to a server.
func (p path) pack(message []byte) []byte {
	b := make([]byte, etherLen+ipLen+udpLen, etherLen+ipLen+udpLen+len(message))
	copy(b[0:6], p.toMAC)
	copy(b[6:12], p.fromMAC)
	binary.BigEndian.PutUint16(b[12:], typeIPv4)
	ip := b[etherLen : etherLen+ipLen]
	ip[0] = 0x45
	ip[1] = 0x10 // low delay
	binary.BigEndian.PutUint16(ip[2:], uint16(ipLen+udpLen+len(message)))
	ip[8], ip[9] = 64, protocolUDP
	from, to := p.from.As4(), p.to.As4()
	copy(ip[12:16], from[:])
	copy(ip[16:20], to[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))
	udp := b[etherLen+ipLen:]
	binary.BigEndian.PutUint16(udp[0:], clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen+len(message)))
	b = append(b, message...)
	// The pseudo header has addresses, protocol and length once more (RFC 768).
	c := sum(0, ip[12:20])
	c = sum(uint32(c)+protocolUDP+uint32(udpLen+len(message)), b[etherLen+ipLen:])
	if c = ^c; c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[etherLen+ipLen+6:], c)
	return b
}

// sum is the ones' complement sum of RFC 1071, begun with start.
func sum(start uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}

// unpack returns the message in an Ethernet frame to a client, and the MAC address of
// who has sent it: the server, or a router on the way.
func unpack(frame []byte) (message []byte, from net.HardwareAddr, err error) {
	if len(frame) < etherLen+ipLen+udpLen || binary.BigEndian.Uint16(frame[12:]) != typeIPv4 {
		return nil, nil, errForeign
	}
	ip := frame[etherLen:]
	header := int(ip[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:]) & 0x3fff // more fragments, or an offset
	if ip[0]>>4 != 4 || header < ipLen || total < header+udpLen || total > len(ip) || fragment != 0 || ip[9] != protocolUDP {
		return nil, nil, errForeign
	}
	udp := ip[header:total]
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != clientPort || length < udpLen || length > len(udp) {
		return nil, nil, errForeign
	}
	return udp[udpLen:length], net.HardwareAddr(frame[6:12]), nil
}

// probe returns an ARP request by which a client asks whether somebody has an address,
// without an address of its own (RFC 5227, section 2.1.1).
func probe(mac net.HardwareAddr, a netip.Addr) []byte {
	b := make([]byte, etherLen+arpLen)
	copy(b[0:6], broadcastMAC)
	copy(b[6:12], mac)
	binary.BigEndian.PutUint16(b[12:], typeARP)
	arp := b[etherLen:]
	copy(arp, []byte{0, 1, 8, 0, 6, 4, 0, 1}) // Ethernet, IPv4, a request
	copy(arp[8:14], mac)
	to := a.As4()
	copy(arp[24:28], to[:])
	return b
}

// claims returns the MAC address of who says in an ARP frame that it has an address; nil
// if nobody does.
func claims(frame []byte, a netip.Addr) net.HardwareAddr {
	if len(frame) < etherLen+arpLen || binary.BigEndian.Uint16(frame[12:]) != typeARP {
		return nil
	}
	arp := frame[etherLen:]
	if sender := netip.AddrFrom4([4]byte(arp[14:18])); sender != a || arp[2] != 8 || arp[3] != 0 || arp[4] != 6 || arp[5] != 4 {
		return nil
	}
	return net.HardwareAddr(arp[8:14])
}
