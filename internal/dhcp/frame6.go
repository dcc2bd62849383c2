package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Ports of DHCPv6 (RFC 8415, section 7.2).
const (
	serverPort6 = 547
	clientPort6 = 546
)

// Sizes and numbers of headers: RFC 8200, section 3; RFC 4443.
const (
	ipLen6         = 40
	typeIPv6       = 0x86dd
	protocolICMPv6 = 58
	// hopsOnLink is that of neighbour discovery: who is not on the link cannot send it (RFC
	// 4861, section 3.1).
	hopsOnLink = 255
)

// Types of ICMPv6 messages of neighbour discovery (RFC 4861, section 4).
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighborSolicitation  = 135
	neighborAdvertisement = 136
)

// Groups that clients speak to (RFC 4291, section 2.7.1; RFC 8415, section 7.1).
var (
	allRouters = netip.MustParseAddr("ff02::2")
	allServers = netip.MustParseAddr("ff02::1:2")
)

// packet6 is an IPv6 packet in an Ethernet frame, without extension headers.
type packet6 struct {
	fromMAC, toMAC net.HardwareAddr
	from, to       netip.Addr
	protocol, hops byte
	payload        []byte
}

// groupMAC returns the MAC address of a multicast group (RFC 2464, section 7).
func groupMAC(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// checksumAt is where the checksum of a protocol is in its header; -1 for others.
func checksumAt(protocol byte) int {
	switch protocol {
	case protocolUDP:
		return 6
	case protocolICMPv6:
		return 2
	}
	return -1
}

// checksum returns the sum over pseudo header and payload (RFC 8200, section 8.1): 0 if the
// payload has the right one.
func (p packet6) checksum() uint16 {
	from, to := p.from.As16(), p.to.As16()
	c := sum(0, from[:])
	c = sum(uint32(c), to[:])
	return ^sum(uint32(c)+uint32(len(p.payload))+uint32(p.protocol), p.payload)
}

// pack returns the frame. The checksum is filled in.
func (p packet6) pack() []byte {
	b := make([]byte, etherLen+ipLen6, etherLen+ipLen6+len(p.payload))
	copy(b[0:6], p.toMAC)
	copy(b[6:12], p.fromMAC)
	binary.BigEndian.PutUint16(b[12:], typeIPv6)
	ip := b[etherLen:]
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(p.payload)))
	ip[6], ip[7] = p.protocol, p.hops
	from, to := p.from.As16(), p.to.As16()
	copy(ip[8:24], from[:])
	copy(ip[24:40], to[:])
	at := checksumAt(p.protocol)
	p.payload[at], p.payload[at+1] = 0, 0
	c := p.checksum()
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(p.payload[at:], c)
	return append(b, p.payload...)
}

// unpack6 reads a frame with UDP or ICMPv6 in it. The checksum of ICMPv6 must be right; that
// of UDP is not looked at, since a sender on this machine leaves it to a network card that its
// packets never come to.
func unpack6(frame []byte) (packet6, error) {
	if len(frame) < etherLen+ipLen6 || binary.BigEndian.Uint16(frame[12:]) != typeIPv6 {
		return packet6{}, errForeign
	}
	ip := frame[etherLen:]
	length := int(binary.BigEndian.Uint16(ip[4:]))
	at := checksumAt(ip[6])
	if ip[0]>>4 != 6 || length > len(ip)-ipLen6 || at < 0 || length < udpLen {
		return packet6{}, errForeign
	}
	p := packet6{
		fromMAC: net.HardwareAddr(frame[6:12]), toMAC: net.HardwareAddr(frame[0:6]),
		from: netip.AddrFrom16([16]byte(ip[8:24])), to: netip.AddrFrom16([16]byte(ip[24:40])),
		protocol: ip[6], hops: ip[7], payload: ip[ipLen6 : ipLen6+length],
	}
	if p.protocol == protocolICMPv6 && p.checksum() != 0 {
		return packet6{}, errForeign
	}
	return p, nil
}

// message6 returns what a server says to a client; false for all other packets.
func (p packet6) message6() ([]byte, bool) {
	if p.protocol != protocolUDP || binary.BigEndian.Uint16(p.payload[2:]) != clientPort6 {
		return nil, false
	}
	length := int(binary.BigEndian.Uint16(p.payload[4:]))
	if length < udpLen || length > len(p.payload) {
		return nil, false
	}
	return p.payload[udpLen:length], true
}

// toServers returns the packet of a message from a client to all servers and relays.
func toServers(mac net.HardwareAddr, from netip.Addr, message []byte) packet6 {
	payload := make([]byte, udpLen, udpLen+len(message))
	binary.BigEndian.PutUint16(payload[0:], clientPort6)
	binary.BigEndian.PutUint16(payload[2:], serverPort6)
	binary.BigEndian.PutUint16(payload[4:], uint16(udpLen+len(message)))
	return packet6{mac, groupMAC(allServers), from, allServers, protocolUDP, 1, append(payload, message...)}
}

// solicitation asks all routers to advertise themselves (RFC 4861, section 4.1).
func solicitation(mac net.HardwareAddr, from netip.Addr) packet6 {
	payload := append([]byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0, optionSourceMAC, 1}, mac...)
	return packet6{mac, groupMAC(allRouters), from, allRouters, protocolICMPv6, hopsOnLink, payload}
}

// asksFor tells whether the packet asks who has an address (RFC 4861, section 4.3).
func (p packet6) asksFor(a netip.Addr) bool {
	return p.protocol == protocolICMPv6 && p.hops == hopsOnLink && p.payload[0] == neighborSolicitation && len(p.payload) >= 24 &&
		netip.AddrFrom16([16]byte(p.payload[8:24])) == a && !p.from.IsUnspecified()
}

// answer says to whoever asked that a client has the address (RFC 4861, section 4.4).
func (p packet6) answer(mac net.HardwareAddr, a netip.Addr) packet6 {
	const solicited, override = 0x40, 0x20
	own := a.As16()
	payload := append([]byte{neighborAdvertisement, 0, 0, 0, solicited | override, 0, 0, 0}, own[:]...)
	payload = append(append(payload, optionTargetMAC, 1), mac...)
	return packet6{mac, p.fromMAC, a, p.from, protocolICMPv6, hopsOnLink, payload}
}
