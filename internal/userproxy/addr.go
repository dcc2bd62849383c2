package userproxy

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// fromSockaddr returns an address and port; a zone is the index of an interface.
// It is invalid for anything but IPv4 and IPv6.
func fromSockaddr(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 {
			addr = addr.WithZone(strconv.FormatUint(uint64(a.ZoneId), 10))
		}
		return netip.AddrPortFrom(addr, uint16(a.Port))
	}
	return netip.AddrPort{}
}

// toSockaddr is the inverse of fromSockaddr.
func toSockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), ZoneId: zone(a.Addr()), Addr: a.Addr().As16()}
}

// zone returns the index of the interface that an address belongs to; 0 if it is
// the same everywhere.
func zone(a netip.Addr) uint32 {
	index, _ := strconv.ParseUint(a.Zone(), 10, 32) // only ours come here
	return uint32(index)
}

// arrival is what the kernel says of where a datagram came in.
type arrival struct {
	local netip.Addr // an address of the host: the one that it was sent to, or that an answer comes from
	to    netip.Addr // the one that it was sent to: a broadcast or multicast address, if not local
	by    uint32     // index of the interface
}

// broadcast tells whether it was sent to all on a network.
func (a arrival) broadcast() bool { return a.to != a.local && !a.to.IsMulticast() }

// sentTo returns where a datagram came in from its control messages (ip(7),
// IP_PKTINFO; ipv6(7), IPV6_RECVPKTINFO).
func sentTo(control []byte) (arrival, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return arrival{}, false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return arrival{ // in_pktinfo: Ifindex, Spec_dst, Addr
				local: netip.AddrFrom4([4]byte(m.Data[4:8])), to: netip.AddrFrom4([4]byte(m.Data[8:12])),
				by: binary.NativeEndian.Uint32(m.Data),
			}, true
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			addr := netip.AddrFrom16([16]byte(m.Data[:16]))
			if addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(strconv.FormatUint(uint64(binary.NativeEndian.Uint32(m.Data[16:])), 10))
			}
			return arrival{local: addr, to: addr, by: binary.NativeEndian.Uint32(m.Data[16:])}, true
		}
	}
	return arrival{}, false
}

// sendFrom returns the control message that makes a datagram come from the address
// that a client has used.
func sendFrom(key flowKey) []byte {
	if key.local.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: key.local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: key.local.As16(), Ifindex: zone(key.local)})
}
