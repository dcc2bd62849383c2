package trace

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// EtherTypes.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

const etherSize = 14 // of the header, without tags

// load is for expressions that put something of the packet into a register, or change
// something of it. It returns false for all others.
func (m *matching) load(e expr.Any) bool {
	switch e := e.(type) {
	case *expr.Meta:
		if e.SourceRegister {
			m.setMeta(e)
			break
		}
		m.put(e.Register, m.packet.meta(e.Key), 4)
	case *expr.Payload:
		if e.OperationType == expr.PayloadWrite {
			m.said, m.changes = true, true
			m.unsure("it rewrites the packet")
			break
		}
		m.put(e.DestRegister, m.packet.payload(e), int(e.Len))
	case *expr.Ct:
		if e.SourceRegister {
			m.said = true
			break
		}
		m.put(e.Register, m.packet.conntrack(e), 4)
	case *expr.Fib:
		m.put(e.Register, m.packet.fib(e), 4)
	case *expr.Rt:
		m.put(e.Register, m.packet.nextHop(e.Key), 4)
	case *expr.Socket:
		m.put(e.Register, value{}, 1) // no packet that is followed is for a socket that is there already
	default:
		return false
	}
	return true
}

// value is something of a packet: bytes; or nothing, if the packet does not have it; or
// not known.
type value struct {
	bytes []byte
	state state
}

type state int

const (
	absent state = iota
	known
	unknown
)

func have(b []byte) value {
	if b == nil {
		return value{}
	}
	return value{b, known}
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// put fills a register. A rule that asks for what the packet does not have does not match.
func (m *matching) put(register uint32, v value, size int) {
	switch v.state {
	case absent:
		m.no = true
	case known:
		m.reg.put(register, v.bytes, true)
	default:
		m.reg.put(register, make([]byte, size), false)
	}
}

func (m *matching) setMeta(e *expr.Meta) {
	m.said = true
	if e.Key != expr.MetaKeyMARK {
		return
	}
	b, ok := m.reg.get(e.Register, 4)
	if m.changes = true; !ok {
		m.unsure("the mark that it sets is not known")
	}
	if m.doubt == "" {
		m.packet.Mark = binary.NativeEndian.Uint32(b)
	}
}

// kind is the EtherType.
func (p *Packet) kind() uint16 {
	if len(p.Frame) < etherSize {
		return 0
	}
	return binary.BigEndian.Uint16(p.Frame[12:])
}

// ifname is an interface name as the kernel compares it: padded with zeros.
func ifname(name string) value {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return have(b)
}

func (p *Packet) meta(key expr.MetaKey) value {
	switch key {
	case expr.MetaKeyIIFNAME:
		return ifname(p.In.Name)
	case expr.MetaKeyOIFNAME:
		return ifname(p.Out.Name)
	case expr.MetaKeyIIF:
		return have(native32(p.In.Index))
	case expr.MetaKeyOIF:
		return have(native32(p.Out.Index))
	case expr.MetaKeyIIFGROUP:
		return have(native32(p.In.Group))
	case expr.MetaKeyOIFGROUP:
		return have(native32(p.Out.Group))
	case expr.MetaKeyMARK:
		return have(native32(p.Mark))
	case expr.MetaKeyNFPROTO:
		if p.kind() == etherIPv6 {
			return have([]byte{unix.NFPROTO_IPV6})
		}
		return have([]byte{unix.NFPROTO_IPV4})
	case expr.MetaKeyPROTOCOL:
		return have(binary.BigEndian.AppendUint16(nil, p.kind()))
	case expr.MetaKeyL4PROTO:
		return p.protocol()
	}
	return value{state: unknown}
}

// protocol is that behind the IP header. Packets that are traced have no extension headers.
func (p *Packet) protocol() value {
	switch {
	case p.kind() == etherIPv4 && len(p.Frame) > 23:
		return have(p.Frame[23:24])
	case p.kind() == etherIPv6 && len(p.Frame) > 20:
		return have(p.Frame[20:21])
	}
	return value{}
}

// transport is where the header behind that of IP begins; 0 if there is none.
func (p *Packet) transport() int {
	switch {
	case p.kind() == etherIPv4 && len(p.Frame) > etherSize:
		return etherSize + int(p.Frame[etherSize]&0xf)*4
	case p.kind() == etherIPv6:
		return etherSize + 40
	}
	return 0
}

func (p *Packet) payload(e *expr.Payload) value {
	start := 0
	switch e.Base {
	case expr.PayloadBaseLLHeader:
	case expr.PayloadBaseNetworkHeader:
		start = etherSize
	case expr.PayloadBaseTransportHeader:
		if start = p.transport(); start == 0 {
			return value{}
		}
	default:
		return value{state: unknown}
	}
	if start += int(e.Offset); start < 0 || start+int(e.Len) > len(p.Frame) {
		return value{}
	}
	return have(p.Frame[start : start+int(e.Len)])
}

// Bits of ct state and status (linux/netfilter/nf_conntrack_common.h).
const (
	stateNew        = 8
	statusDNAT      = 1 << 5
	ctDestination4  = expr.CtKey(unix.NFT_CT_DST_IP)
	ctDestination6  = expr.CtKey(unix.NFT_CT_DST_IP6)
	ctSource4       = expr.CtKey(unix.NFT_CT_SRC_IP)
	ctSource6       = expr.CtKey(unix.NFT_CT_SRC_IP6)
	directionOrigin = 0
)

// conntrack reads from the connection as the kernel keeps it: as its first packet was.
func (p *Packet) conntrack(e *expr.Ct) value {
	first := Packet{Frame: p.Original}
	if p.Original == nil {
		first.Frame = p.Frame
	}
	ports := func(offset uint32) value {
		return first.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2})
	}
	switch e.Key {
	case expr.CtKeySTATE:
		if p.State == 0 {
			return have(native32(stateNew))
		}
		return have(native32(p.State))
	case expr.CtKeySTATUS:
		if p.Original == nil {
			return have(native32(0))
		}
		return have(native32(statusDNAT))
	case expr.CtKeyDIRECTION:
		return have([]byte{directionOrigin})
	case expr.CtKeyMARK:
		if p.State == 0 {
			return have(native32(0))
		}
	case expr.CtKeyPROTOCOL:
		return first.protocol()
	}
	if e.Direction != directionOrigin {
		return value{state: unknown}
	}
	switch e.Key {
	case expr.CtKeyPROTOSRC:
		return ports(0)
	case expr.CtKeyPROTODST:
		return ports(2)
	case ctSource4, ctSource6:
		return first.address(e.Key == ctSource4, first.Source())
	case ctDestination4, ctDestination6:
		return first.address(e.Key == ctDestination4, first.Destination())
	}
	return value{state: unknown}
}

// address is one of the wanted family; none if the packet's is the other.
func (p *Packet) address(four bool, a netip.Addr) value {
	if !a.IsValid() || a.Is4() != four {
		return value{}
	}
	return have(a.AsSlice())
}

// Source is that of an IP packet; invalid for others.
func (p *Packet) Source() netip.Addr { return p.addressAt(12, 8) }

// Destination is that of an IP packet; invalid for others.
func (p *Packet) Destination() netip.Addr { return p.addressAt(16, 24) }

func (p *Packet) addressAt(four, six int) netip.Addr {
	switch {
	case p.kind() == etherIPv4 && len(p.Frame) >= etherSize+20:
		return netip.AddrFrom4([4]byte(p.Frame[etherSize+four:]))
	case p.kind() == etherIPv6 && len(p.Frame) >= etherSize+40:
		return netip.AddrFrom16([16]byte(p.Frame[etherSize+six:]))
	}
	return netip.Addr{}
}

// fib asks the host's routing.
func (p *Packet) fib(e *expr.Fib) value {
	a, link := p.Destination(), ""
	if e.FlagSADDR {
		a = p.Source()
	}
	switch {
	case !a.IsValid() || p.Host == nil:
		return value{state: unknown}
	case e.ResultADDRTYPE && !e.FlagMARK:
		if e.FlagIIF {
			link = p.In.Name
		}
		if e.FlagOIF {
			link = p.Out.Name
		}
		return have(native32(p.Host.AddrType(a, link)))
	case e.ResultOIF && e.FlagSADDR && e.FlagIIF:
		index := p.Host.WayBack(p)
		if e.FlagPRESENT {
			index = min(index, 1)
			return have([]byte{byte(index)})
		}
		return have(native32(index))
	}
	return value{state: unknown}
}

// nextHop is who the packet is handed to; none if that is of the other family.
func (p *Packet) nextHop(key expr.RtKey) value {
	if key != expr.RtNexthop4 && key != expr.RtNexthop6 || p.Host == nil {
		return value{state: unknown}
	}
	return p.address(key == expr.RtNexthop4, p.Host.NextHop(p))
}
