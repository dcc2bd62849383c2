package announce

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Numbers of the protocols.
const (
	etherIPv6  = 0x86dd
	etherARP   = 0x0806
	icmpV6     = 58  // RFC 4443
	neighborAd = 136 // RFC 4861 section 4.4
	override   = 0x20
	targetMAC  = 2   // the option Target Link-layer Address, RFC 4861 section 4.6.1
	hopLimit   = 255 // so that receivers know that it comes from the link
)

// allNodes is the link-local multicast address of everybody (RFC 4291 section 2.7.1),
// and the MAC address that it goes to (RFC 2464 section 7).
var (
	allNodes    = netip.MustParseAddr("ff02::1").As16()
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	broadcast   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// frame returns the Ethernet frame that tells everybody on the link which MAC address
// an address has.
func frame(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		return arp(mac, addr.As4())
	}
	return advertisement(mac, addr.As16())
}

// arp is an announcement of RFC 5227 section 2.3: a request for the address itself.
func arp(mac net.HardwareAddr, addr [4]byte) []byte {
	b := ethernet(broadcast, mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, their lengths, request
	b = append(b, mac...)
	b = append(b, addr[:]...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, addr[:]...)
}

// advertisement is an unsolicited Neighbor Advertisement (RFC 4861 section 7.2.6).
func advertisement(mac net.HardwareAddr, addr [16]byte) []byte {
	body := []byte{neighborAd, 0, 0, 0, override, 0, 0, 0}
	body = append(body, addr[:]...)
	body = append(body, targetMAC, 1)
	body = append(body, mac...)
	binary.BigEndian.PutUint16(body[2:], checksum(addr, allNodes, body))

	b := ethernet(allNodesMAC, mac, etherIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, byte(len(body)), icmpV6, hopLimit)
	b = append(b, addr[:]...)
	b = append(b, allNodes[:]...)
	return append(b, body...)
}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	b := append(append([]byte{}, to...), from...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// checksum is that of ICMPv6, over a pseudo-header too (RFC 8200 section 8.1).
func checksum(from, to [16]byte, body []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	add(from[:])
	add(to[:])
	add([]byte{0, byte(len(body)), 0, icmpV6})
	add(body)
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
