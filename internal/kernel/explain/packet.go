package explain

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/facts"
)

// clientPort is where packets come from: an ephemeral port like any other.
const clientPort = 49152

// frame is a packet with its link-layer header: the first of a connection. Checksums are
// left out, since no rule looks at them.
func frame(p facts.TracePacket, from netip.Addr, dstMAC, srcMAC string) []byte {
	to := p.To.Addr()
	payload, number := transport(p, to.Is6())
	head := slices.Concat(mac(dstMAC), mac(srcMAC))
	if to.Is6() {
		head = append(head, 0x86, 0xdd, 0x60, 0, 0, 0)
		head = binary.BigEndian.AppendUint16(head, uint16(len(payload)))
		head = append(head, number, 64)
	} else {
		head = append(head, 0x08, 0x00, 0x45, 0)
		head = binary.BigEndian.AppendUint16(head, uint16(20+len(payload)))
		head = append(head, 0, 0, 0x40, 0, 64, number, 0, 0)
	}
	return slices.Concat(head, from.AsSlice(), to.AsSlice(), payload)
}

// transport is a SYN segment, a datagram or an echo request, and the number of its protocol.
func transport(p facts.TracePacket, six bool) ([]byte, byte) {
	const syn, icmp, icmp6 = 2, 1, 58
	number := p.Protocol.Number()
	if number == 0 {
		if six {
			return []byte{128, 0, 0, 0, 0, 1, 0, 1}, icmp6
		}
		return []byte{8, 0, 0, 0, 0, 1, 0, 1}, icmp
	}
	b := binary.BigEndian.AppendUint16(nil, clientPort)
	b = binary.BigEndian.AppendUint16(b, p.To.Port())
	if p.Protocol == "tcp" {
		return append(b, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, syn, 0xff, 0xff, 0, 0, 0, 0), number
	}
	return append(b, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), number
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 {
		return make(net.HardwareAddr, 6)
	}
	return m
}

// readdressed is a frame with another destination; a port of 0 stays.
func readdressed(frame []byte, to netip.AddrPort) []byte {
	out := slices.Clone(frame)
	at, ports := 14+16, 14+20
	if binary.BigEndian.Uint16(out[12:]) == 0x86dd {
		at, ports = 14+24, 14+40
	}
	if to.Addr().IsValid() && len(to.Addr().AsSlice()) == ports-at {
		copy(out[at:], to.Addr().AsSlice())
	}
	if to.Port() != 0 {
		binary.BigEndian.PutUint16(out[ports+2:], to.Port())
	}
	return out
}
