package frames

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Kind is the EtherType of a frame.
func Kind(frame []byte) uint16 { return binary.BigEndian.Uint16(frame[12:]) }

// Source of an IP packet; invalid for other frames.
func Source(frame []byte) netip.Addr {
	switch Kind(frame) {
	case IPv4:
		return netip.AddrFrom4([4]byte(frame[14+12:]))
	case IPv6:
		return netip.AddrFrom16([16]byte(frame[14+8:]))
	}
	return netip.Addr{}
}

// Destination of an IP packet; invalid for other frames.
func Destination(frame []byte) netip.Addr {
	switch Kind(frame) {
	case IPv4:
		return netip.AddrFrom4([4]byte(frame[14+16:]))
	case IPv6:
		return netip.AddrFrom16([16]byte(frame[14+24:]))
	}
	return netip.Addr{}
}

// Protocol of an IP packet without extension headers.
func Protocol(frame []byte) (number byte, ok bool) {
	switch Kind(frame) {
	case IPv4:
		return frame[14+9], true
	case IPv6:
		return frame[14+6], true
	}
	return 0, false
}

// Transport is where the header behind that of IP begins; 0 for other frames.
func Transport(frame []byte) int {
	switch Kind(frame) {
	case IPv4:
		return 14 + int(frame[14]&0xf)*4
	case IPv6:
		return 14 + 40
	}
	return 0
}

// DestinationPort of a segment or datagram.
func DestinationPort(frame []byte) uint16 {
	return binary.BigEndian.Uint16(frame[Transport(frame)+2:])
}

// Readdressed is the frame after a translation of its destination, to a port unless that
// is 0, checksums left as they were.
func Readdressed(frame []byte, to netip.AddrPort) []byte {
	out := slices.Clone(frame)
	at := 14 + 16
	if Kind(out) == IPv6 {
		at = 14 + 24
	}
	copy(out[at:], to.Addr().AsSlice())
	if to.Port() != 0 {
		binary.BigEndian.PutUint16(out[Transport(out)+2:], to.Port())
	}
	return out
}
