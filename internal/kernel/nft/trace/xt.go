package trace

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Extensions of xtables, as iptables-nft puts them into rules: those whose data this
// package understands. See net/netfilter/xt_*.c of the kernel.

// xtMatch goes on if an extension matches.
func (m *matching) xtMatch(e *expr.Match) {
	switch info := e.Info.(type) {
	case *xt.Comment:
	case *xt.ConntrackMtinfo3:
		m.xtConntrack(info)
	case *xt.AddrTypeV1:
		m.xtAddrType(info)
	case *xt.Tcp:
		if info.Option != 0 || info.FlagsMask != 0 {
			m.xtFlags(info)
		}
		m.xtPorts(info.SrcPorts, info.DstPorts, info.InvFlags&xt.TcpInvSrcPorts != 0, info.InvFlags&xt.TcpInvDestPorts != 0)
	case *xt.Udp:
		m.xtPorts(info.SrcPorts, info.DstPorts, info.InvFlags&xt.UdpInvSrcPorts != 0, info.InvFlags&xt.UdpInvDestPorts != 0)
	case *xt.Unknown:
		m.xtRaw(e.Name, e.Rev, *info)
	default:
		m.unsure("nothing is known of match " + e.Name)
	}
}

// xtRaw is for extensions that come as bytes.
func (m *matching) xtRaw(name string, rev uint32, b []byte) {
	switch {
	case name == "multiport" && rev == 1 && len(b) >= 48:
		m.xtMultiport(b)
	case name == "sctp" && len(b) >= 292:
		m.xtSCTP(b)
	case name == "iprange" && rev == 1 && len(b) >= 65:
		m.xtRange(b)
	case (name == "icmp" || name == "icmp6") && len(b) >= 4:
		v := m.packet.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Len: 2})
		if v.state != known {
			m.no = true
			return
		}
		holds := (b[0] == 0xff || b[0] == v.bytes[0]) && (b[0] == 0xff || v.bytes[1] >= b[1] && v.bytes[1] <= b[2])
		m.expect(holds != (b[3]&1 != 0), true, "")
	default:
		m.unsure("nothing is known of match " + name)
	}
}

// ports are those of the packet; there is none in some.
func (m *matching) ports() (source, destination uint16, ok bool) {
	v := m.packet.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Len: 4})
	if v.state != known {
		m.no = true
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(v.bytes), binary.BigEndian.Uint16(v.bytes[2:]), true
}

func within(p uint16, r [2]uint16) bool { return p >= r[0] && p <= r[1] }

func (m *matching) xtPorts(src, dst [2]uint16, notSrc, notDst bool) {
	source, destination, ok := m.ports()
	if !ok {
		return
	}
	m.expect(within(source, src) != notSrc && within(destination, dst) != notDst, true, "")
}

// xtFlags looks at the flags of a TCP segment.
func (m *matching) xtFlags(info *xt.Tcp) {
	if info.Option != 0 {
		m.unsure("it asks for an option of TCP")
		return
	}
	v := m.packet.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1})
	if v.state != known {
		m.no = true
		return
	}
	m.expect((v.bytes[0]&info.FlagsMask == info.FlagsCmp) != (info.InvFlags&xt.TcpInvFlags != 0), true, "")
}

// xtSCTP reads the ports of a struct xt_sctp_info; of chunks nothing is known.
func (m *matching) xtSCTP(b []byte) {
	const source, destination, chunks = 1, 2, 4
	word := func(i int) uint16 { return binary.NativeEndian.Uint16(b[2*i:]) }
	flags, inverted := binary.NativeEndian.Uint32(b[284:]), binary.NativeEndian.Uint32(b[288:])
	from, to, ok := m.ports()
	if !ok {
		return
	}
	if flags&destination != 0 {
		m.expect(within(to, [2]uint16{word(0), word(1)}) != (inverted&destination != 0), true, "")
	}
	if flags&source != 0 {
		m.expect(within(from, [2]uint16{word(2), word(3)}) != (inverted&source != 0), true, "")
	}
	if flags&chunks != 0 && !m.no {
		m.unsure("it asks for chunks of SCTP")
	}
}

// xtMultiport reads a struct xt_multiport_v1.
func (m *matching) xtMultiport(b []byte) {
	source, destination, ok := m.ports()
	if !ok {
		return
	}
	hit := func(p uint16) bool {
		for i := 0; i < min(int(b[1]), 15); i++ {
			first := binary.NativeEndian.Uint16(b[2+2*i:])
			last := first
			if b[32+i] != 0 && i+1 < 15 { // the next one ends a range
				i++
				last = binary.NativeEndian.Uint16(b[2+2*i:])
			}
			if within(p, [2]uint16{first, last}) {
				return true
			}
		}
		return false
	}
	const either = 2
	holds := b[0] != 1 && hit(source) || b[0] != 0 && hit(destination)
	m.expect(holds != (b[47] != 0), b[0] <= either, "the direction of ports")
}

// xtRange reads a struct xt_iprange_mtinfo.
func (m *matching) xtRange(b []byte) {
	const source, destination, notSource, notDestination = 1, 2, 16, 32
	size := 4
	if m.packet.kind() == etherIPv6 {
		size = 16
	}
	between := func(a netip.Addr, from int) bool {
		return bytes.Compare(a.AsSlice(), b[from:from+size]) >= 0 && bytes.Compare(a.AsSlice(), b[from+16:from+16+size]) <= 0
	}
	flags := b[64]
	if flags&source != 0 {
		m.expect(between(m.packet.Source(), 0) != (flags&notSource != 0), true, "")
	}
	if flags&destination != 0 {
		m.expect(between(m.packet.Destination(), 32) != (flags&notDestination != 0), true, "")
	}
}

func (m *matching) xtAddrType(info *xt.AddrTypeV1) {
	const notSource, notDestination, byIn, byOut = 1, 2, 4, 8
	if m.packet.Host == nil {
		m.unsure("routing is not known")
		return
	}
	link := ""
	switch {
	case info.Flags&byIn != 0:
		link = m.packet.In.Name
	case info.Flags&byOut != 0:
		link = m.packet.Out.Name
	}
	of := func(a netip.Addr, mask uint16) bool {
		kind := m.packet.Host.AddrType(a, link)
		return kind < 16 && mask&(1<<kind) != 0
	}
	if info.Source != 0 {
		m.expect(of(m.packet.Source(), info.Source) != (info.Flags&notSource != 0), true, "")
	}
	if info.Dest != 0 {
		m.expect(of(m.packet.Destination(), info.Dest) != (info.Flags&notDestination != 0), true, "")
	}
}

// xtConntrack follows conntrack_mt in net/netfilter/xt_conntrack.c.
func (m *matching) xtConntrack(info *xt.ConntrackMtinfo3) {
	p := m.packet
	first := Packet{Frame: p.Original}
	if p.Original == nil {
		first.Frame = p.Frame
	}
	flags, inverted := xt.ConntrackFlags(info.MatchFlags), xt.ConntrackFlags(info.InvertFlags)
	check := func(flag xt.ConntrackFlags, holds bool) {
		if flags&flag != 0 {
			m.expect(holds != (inverted&flag != 0), true, "")
			flags &^= flag
		}
	}
	const stateSNAT, stateDNAT, stateUntracked = 64, 128, 256
	state := uint16(stateNew)
	if p.State != 0 {
		if state = uint16(p.State); p.State == 64 { // NF_CT_STATE_UNTRACKED_BIT
			state = stateUntracked
		}
	}
	if p.Original != nil {
		state |= stateDNAT
	}
	check(xt.ConntrackState, info.StateMask&state != 0)
	flags &^= xt.ConntrackStateAlias
	check(xt.ConntrackDirection, true)
	if v := first.protocol(); v.state == known {
		check(xt.ConntrackProto, info.L4Proto == uint16(v.bytes[0]))
	}
	check(xt.ConntrackOrigSrc, maskedEqual(first.Source(), info.OrigSrcAddr, info.OrigSrcMask))
	check(xt.ConntrackOrigDst, maskedEqual(first.Destination(), info.OrigDstAddr, info.OrigDstMask))
	if v := first.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Len: 4}); v.state == known {
		check(xt.ConntrackOrigSrcPort, within(binary.BigEndian.Uint16(v.bytes), [2]uint16{info.OrigSrcPort, info.OrigSrcPortHigh}))
		check(xt.ConntrackOrigDstPort, within(binary.BigEndian.Uint16(v.bytes[2:]), [2]uint16{info.OrigDstPort, info.OrigDstPortHigh}))
	}
	if flags != 0 && !m.no {
		m.unsure("it asks something of the connection that is not known")
	}
}

func maskedEqual(a netip.Addr, want net.IP, mask net.IPMask) bool {
	got := net.IP(a.AsSlice())
	if a.Is4() {
		want = want.To4()
	}
	if want == nil || len(mask) != len(got) || len(want) != len(got) {
		return false
	}
	return got.Mask(mask).Equal(want.Mask(mask))
}

// xtTarget returns what a target of xtables decides.
func (m *matching) xtTarget(e *expr.Target) Verdict {
	switch e.Name {
	case "REJECT":
		return Reject
	case "LOG", "NFLOG", "TRACE", "CT", "NOTRACK", "CHECKSUM", "TCPMSS", "CLASSIFY", "CONNMARK", "CONNSECMARK", "SECMARK", "SET":
		m.said = true
		return verdictContinue
	case "MASQUERADE":
		return Masquerade
	case "DNAT":
		m.xtNAT(e.Info)
		return TranslateTo
	case "SNAT":
		info := e.Info
		if raw, ok := info.(*xt.Unknown); ok { // of IPv6: a struct nf_nat_range, as that of DNAT
			if read, err := xt.Unmarshal("DNAT", unix.NFPROTO_IPV6, e.Rev, *raw); err == nil {
				info = read
			}
		}
		m.xtNAT(info)
		return TranslateFrom
	case "REDIRECT":
		m.xtNAT(e.Info)
		m.to = netip.AddrPortFrom(netip.Addr{}, m.to.Port())
		return Redirect
	}
	m.said = true
	if raw, ok := e.Info.(*xt.Unknown); ok && e.Name == "MARK" && e.Rev == 2 && len(*raw) >= 8 {
		mark, mask := binary.NativeEndian.Uint32(*raw), binary.NativeEndian.Uint32((*raw)[4:])
		if m.changes = true; m.doubt == "" {
			m.packet.Mark = m.packet.Mark&^mask ^ mark
		}
		return verdictContinue
	}
	m.changes = true
	m.unsure("nothing is known of target " + e.Name)
	return verdictContinue
}

// xtNAT reads where to; one of several cannot be told.
func (m *matching) xtNAT(info xt.InfoAny) {
	var r xt.NatRange
	var base uint16
	switch info := info.(type) {
	case *xt.NatRange:
		r = *info
	case *xt.NatRange2:
		r, base = info.NatRange, info.BasePort
	case *xt.NatIPv4MultiRangeCompat:
		if len(*info) != 1 {
			m.unsure("it translates to one of several")
			return
		}
		r = xt.NatRange((*info)[0])
	default:
		m.unsure("where it translates to is not known")
		return
	}
	var a netip.Addr
	var port uint16
	if r.Flags&uint(xt.NatRangeMapIPs) != 0 {
		a, _ = netip.AddrFromSlice(r.MinIP)
		a = a.Unmap()
		if !r.MinIP.Equal(r.MaxIP) {
			m.unsure("it translates to one of several addresses")
		}
	}
	if r.Flags&uint(xt.NatRangeProtoSpecified) != 0 {
		port = r.MinPort
		if _, from, ok := m.ports(); r.Flags&uint(xt.NatRangeProtoOffset) != 0 && ok && r.MaxPort >= r.MinPort { // it keeps its distance
			port += uint16(uint32(from-base) % (uint32(r.MaxPort-r.MinPort) + 1))
		} else if r.MinPort != r.MaxPort {
			m.unsure("it translates to one of several ports")
		}
	}
	m.to = netip.AddrPortFrom(a, port)
}
