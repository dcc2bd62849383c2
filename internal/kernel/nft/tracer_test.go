package nft

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// tracer runs frames through the ruleset that rows are rendered to, by reading
// the very expressions that are sent to the kernel.
type tracer struct {
	tables []table
	idx    index
	sets   map[string]map[element]bool
}

func newTracer(t *testing.T, rows []desired.Row) tracer {
	t.Helper()
	tables := skeleton("test")
	sets, _, err := wanted(rows)
	if err != nil {
		t.Fatal(err)
	}
	return tracer{tables, indexOf(tables), sets}
}

// hop is one frame at one hook.
type hop struct {
	frame              []byte
	iif, oif           string
	iifGroup, oifGroup uint32
	state              uint32          // of its connection; 0 is new
	first              []byte          // the connection's first frame before translation, if that took place
	nat                *netip.AddrPort // where a translation to takes it; port 0 for its own
	mark               *uint32
}

type verdict string

const (
	verdictAccept     verdict = "accept"
	verdictDrop       verdict = "drop"
	verdictMasquerade verdict = "masquerade"
	verdictTranslate  verdict = "translate"
	verdictNone       verdict = ""
)

// run returns what a chain makes of a frame; without a verdict of its own, the
// policy.
func (tr tracer) run(family byte, chain string, h hop) verdict {
	for _, t := range tr.tables {
		if t.family == family {
			if v := tr.chain(t, chain, h); v != verdictNone {
				return v
			}
			return verdictAccept
		}
	}
	panic("no such table")
}

func (tr tracer) chain(t table, name string, h hop) verdict {
	for _, c := range t.chains {
		if c.name != name {
			continue
		}
		for _, r := range c.rules {
			if v := tr.rule(t, r, h); v != verdictNone {
				return v
			}
		}
		return verdictNone
	}
	panic("no such chain: " + name)
}

// registers are four of 16 bytes each, numbered from 1; parts of 4 bytes have
// numbers of their own.
type registers [4 * 16]byte

func (r *registers) from(n uint32) []byte {
	if n >= unix.NFT_REG32_00 {
		return r[(n-unix.NFT_REG32_00)*4:]
	}
	return r[(n-1)*16:]
}

func (tr tracer) rule(t table, r rule, h hop) verdict {
	var reg registers
	for _, e := range r.exprs {
		ok := true
		switch e := e.(type) {
		case *expr.Meta:
			if e.SourceRegister {
				*h.mark = binary.NativeEndian.Uint32(reg.from(e.Register))
				break
			}
			ok = put(&reg, e.Register, h.meta(e.Key))
		case *expr.Payload:
			ok = put(&reg, e.DestRegister, h.payload(e))
		case *expr.Ct:
			ok = put(&reg, e.Register, h.conntrack(e.Key))
		case *expr.Fib:
			if e.ResultOIF {
				ok = put(&reg, e.Register, native32(h.wayBack()))
				break
			}
			ok = put(&reg, e.Register, native32(h.destinationType(e.FlagIIF)))
		case *expr.Rt:
			ok = put(&reg, e.Register, h.nextHop(e.Key))
		case *expr.Dynset:
			ok = !slices.ContainsFunc(e.Exprs, isLimit) // frames of trials are few
		case *expr.Limit:
			ok = !e.Over
		case *expr.Bitwise:
			for i := range e.Mask {
				reg.from(e.DestRegister)[i] = reg.from(e.SourceRegister)[i]&e.Mask[i] ^ e.Xor[i]
			}
		case *expr.Cmp:
			ok = bytes.Equal(reg.from(e.Register)[:len(e.Data)], e.Data) == (e.Op == expr.CmpOpEq)
		case *expr.Lookup:
			data, found := tr.find(e.SetName, reg.from(e.SourceRegister))
			if ok = found != e.Invert; e.IsDestRegSet {
				copy(reg.from(e.DestRegister), data)
			}
		case *expr.NAT:
			*h.nat = natTarget(e, &reg)
			return verdictTranslate
		case *expr.Masq:
			return verdictMasquerade
		case *expr.Verdict:
			return tr.decide(t, e, h)
		default:
			panic(fmt.Sprintf("the tracer does not know %T", e))
		}
		if !ok {
			return verdictNone
		}
	}
	return verdictNone
}

// nextHop is the destination: no trial goes farther than to a neighbour.
func (h hop) nextHop(key expr.RtKey) []byte {
	if (key == expr.RtNexthop4) != (h.kind() == etherIPv4) {
		return nil
	}
	return h.destination().AsSlice()
}

func isLimit(e expr.Any) bool {
	l, ok := e.(*expr.Limit)
	return ok && l.Over
}

// wayBack is not 0 if what answers the packet leaves by the interface that it came
// in by. All networks of the trials are /24 and /64.
func (h hop) wayBack() uint32 {
	source := h.source()
	bits := 24
	if source.Is6() {
		bits = 64
	}
	for _, p := range places() {
		for _, a := range []string{p.ip4, p.ip6} {
			if p.device() == h.iif && netip.PrefixFrom(source, bits).Contains(netip.MustParseAddr(a)) {
				return 1
			}
		}
	}
	return 0
}

func (tr tracer) decide(t table, v *expr.Verdict, h hop) verdict {
	switch v.Kind {
	case expr.VerdictAccept:
		return verdictAccept
	case expr.VerdictDrop:
		return verdictDrop
	case expr.VerdictJump:
		return tr.chain(t, v.Chain, h)
	}
	panic(fmt.Sprintf("the tracer does not know verdict %d", v.Kind))
}

// find returns the data of the element that has the key, and whether there is one.
func (tr tracer) find(name string, key []byte) (data string, found bool) {
	at := tr.idx[name].set
	k := string(key[:length(at.key)])
	for e := range tr.sets[name] {
		if at.holds(e, k) {
			return e.data, true
		}
	}
	return "", false
}

func (s set) holds(e element, key string) bool {
	switch {
	case !s.interval:
		return e.key == key
	case !s.ranged():
		return e.key <= key && (e.after == "" || key < e.after)
	}
	at := 0
	for _, t := range s.key { // every part must be within its own range
		if part := key[at : at+t.size()]; part < e.key[at:at+t.size()] || part > e.last[at:at+t.size()] {
			return false
		}
		at += align(t.size())
	}
	return true
}

func natTarget(e *expr.NAT, reg *registers) netip.AddrPort {
	size := 4
	if e.Family == unix.NFPROTO_IPV6 {
		size = 16
	}
	addr, _ := netip.AddrFromSlice(reg.from(e.RegAddrMin)[:size])
	if e.RegProtoMin == 0 {
		return netip.AddrPortFrom(addr, 0)
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(reg.from(e.RegProtoMin)))
}

// conntrack reads from the connection as the kernel keeps it.
func (h hop) conntrack(key expr.CtKey) []byte {
	first := hop{frame: h.first}
	if h.first == nil {
		first.frame = h.frame
	}
	ip4 := first.kind() == etherIPv4
	switch key {
	case expr.CtKeySTATE:
		return native32(cmp.Or(h.state, expr.CtStateBitNEW))
	case expr.CtKeySTATUS:
		if h.first == nil {
			return native32(0)
		}
		return native32(1 << 5) // IPS_DST_NAT
	case expr.CtKeyPROTODST:
		return first.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
	case ctDestination4:
		if ip4 {
			return first.frame[14+16 : 14+20]
		}
		return nil
	case ctDestination6:
		if !ip4 {
			return first.frame[14+24 : 14+40]
		}
		return nil
	}
	panic(fmt.Sprintf("the tracer does not know conntrack key %d", key))
}

// destinationType is what the destination is to the host, or to it by the incoming
// interface alone.
func (h hop) destinationType(here bool) uint32 {
	dst := h.destination()
	switch {
	case dst.IsMulticast():
		return unix.RTN_MULTICAST
	case dst.String() == "255.255.255.255":
		return unix.RTN_BROADCAST
	case dst.String() == "fe80::1":
		return unix.RTN_LOCAL
	case isLocal(dst) && (!here || deviceOf(dst) == h.iif):
		return unix.RTN_LOCAL
	}
	return unix.RTN_UNICAST
}

// source of an IP packet; invalid for other frames.
func (h hop) source() netip.Addr {
	switch h.kind() {
	case etherIPv4:
		return netip.AddrFrom4([4]byte(h.frame[14+12:]))
	case etherIPv6:
		return netip.AddrFrom16([16]byte(h.frame[14+8:]))
	}
	return netip.Addr{}
}

// deviceOf is the device that has an address of the host.
func deviceOf(a netip.Addr) string {
	for _, p := range places() {
		if a.String() == hostOf(p.ip4, 24) || a.String() == hostOf(p.ip6, 64) {
			return p.device()
		}
	}
	return "lo"
}

// destination of an IP packet; invalid for other frames.
func (h hop) destination() netip.Addr {
	switch h.kind() {
	case etherIPv4:
		return netip.AddrFrom4([4]byte(h.frame[14+16:]))
	case etherIPv6:
		return netip.AddrFrom16([16]byte(h.frame[14+24:]))
	}
	return netip.Addr{}
}

// put fills a register, whole words, unless the packet has no such thing.
func put(reg *registers, n uint32, v []byte) bool {
	if v == nil {
		return false
	}
	clear(reg.from(n)[:align(len(v))])
	copy(reg.from(n), v)
	return true
}

func (h hop) meta(key expr.MetaKey) []byte {
	switch key {
	case expr.MetaKeyIIFNAME:
		return ifname(h.iif)
	case expr.MetaKeyOIFNAME:
		return ifname(h.oif)
	case expr.MetaKeyMARK:
		return native32(*h.mark)
	case expr.MetaKeyIIFGROUP:
		return native32(h.iifGroup)
	case expr.MetaKeyOIFGROUP:
		return native32(h.oifGroup)
	case expr.MetaKeyNFPROTO:
		if h.kind() == etherIPv6 {
			return []byte{unix.NFPROTO_IPV6}
		}
		return []byte{unix.NFPROTO_IPV4}
	case expr.MetaKeyL4PROTO:
		switch h.kind() {
		case etherIPv4:
			return h.frame[23:24]
		case etherIPv6:
			return h.frame[20:21]
		}
		return nil
	}
	panic(fmt.Sprintf("the tracer does not know meta key %d", key))
}

func (h hop) kind() uint16 { return binary.BigEndian.Uint16(h.frame[12:]) }

func (h hop) payload(e *expr.Payload) []byte {
	start := uint32(0)
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		start = 14
	case expr.PayloadBaseTransportHeader:
		switch h.kind() {
		case etherIPv4:
			start = 14 + uint32(h.frame[14]&0xf)*4
		case etherIPv6:
			start = 14 + 40
		default:
			return nil
		}
	}
	if start += e.Offset; start+e.Len > uint32(len(h.frame)) {
		return nil
	}
	return h.frame[start : start+e.Len]
}
