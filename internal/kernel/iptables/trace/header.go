package trace

import (
	"encoding/binary"
	"slices"
	"strconv"
)

// header is what rules look at of a packet's transport header. A packet may be cut short
// anywhere; what is not there is zero.
type header struct {
	protocol            byte
	isIP                bool
	source, destination uint16 // ports
	flags               byte   // of TCP
	hasFlags            bool
	kind, code          byte // of ICMP
	hasKind             bool
}

// Numbers of headers, of RFC 894, 2464, 791 and 8200.
const (
	etherSize                = 14
	etherIPv4, etherIPv6     = 0x0800, 0x86dd
	protocolTCP              = 6
	protocolICMP, protocolV6 = 1, 58
)

// headerOf reads a frame. Extension headers of IPv6 are not followed.
func headerOf(frame []byte) (h header) {
	if len(frame) < etherSize {
		return h
	}
	b := frame[etherSize:]
	size := 40
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == etherIPv4 && len(b) >= 20:
		h.protocol, size = b[9], int(b[0]&0xf)*4
	case kind == etherIPv6 && len(b) >= 40:
		h.protocol = b[6]
	default:
		return h
	}
	h.isIP = true
	if len(b) < size+4 {
		return h
	}
	b = b[size:]
	switch h.protocol {
	case protocolICMP, protocolV6:
		h.kind, h.code, h.hasKind = b[0], b[1], true
	default:
		h.source, h.destination = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	if h.protocol == protocolTCP && len(b) > 13 {
		h.flags, h.hasFlags = b[13]&0x3f, true
	}
	return h
}

// has tells whether the packet's protocol is the one of that name, or number.
func (h header) has(name string) bool {
	numbers := []struct {
		name   string
		number byte
	}{{"icmp", protocolICMP}, {"tcp", protocolTCP}, {"udp", 17}, {"gre", 47}, {"esp", 50}, {"ah", 51}, {"ipv6-icmp", protocolV6}, {"ospf", 89}, {"vrrp", 112}, {"sctp", 132}, {"dccp", 33}, {"udplite", 136}, {"igmp", 2}}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil {
		i := slices.IndexFunc(numbers, func(p struct {
			name   string
			number byte
		}) bool {
			return p.name == name
		})
		if i < 0 {
			return false
		}
		n = uint64(numbers[i].number)
	}
	return h.isIP && h.protocol == byte(n)
}
