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
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// tracer runs frames through the ruleset that rows are rendered to, by reading
// the very expressions that are sent to the kernel.
type tracer struct {
	tables []table
	idx    index
	sets   map[string]map[element]bool
}

func newTracer(t testing.TB, rows []desired.Row) tracer {
	t.Helper()
	tables := shape{instance: "test", accept: markOf(rows)}.tables()
	sets, _, err := wanted(rows)
	if err != nil {
		t.Fatal(err)
	}
	return tracer{tables, indexOf(tables), sets}
}

// hop is a packet with what expressions load of it.
type hop struct{ firewalltest.Hop }

// chains are those of a hook, in the order of their priorities.
func chains(at firewalltest.Hook) (family byte, names []string) {
	switch at {
	case firewalltest.BridgePrerouting:
		return unix.NFPROTO_BRIDGE, []string{"prerouting"}
	case firewalltest.BridgeForward:
		return unix.NFPROTO_BRIDGE, []string{"forward"}
	case firewalltest.BridgeForwardLate:
		return unix.NFPROTO_BRIDGE, []string{"icc"}
	case firewalltest.BridgeInput:
		return unix.NFPROTO_BRIDGE, []string{"input", chainHear}
	case firewalltest.BridgeOutput:
		return unix.NFPROTO_BRIDGE, []string{"output"}
	case firewalltest.Prerouting:
		return unix.NFPROTO_INET, []string{"early"}
	case firewalltest.TranslateDestination:
		return unix.NFPROTO_INET, []string{"prerouting"}
	case firewalltest.Input:
		return unix.NFPROTO_INET, []string{"input"}
	case firewalltest.TranslateOutput:
		return unix.NFPROTO_INET, []string{"output"}
	case firewalltest.Output:
		return unix.NFPROTO_INET, []string{"sent"}
	case firewalltest.Forward:
		return unix.NFPROTO_INET, []string{"forward"}
	case firewalltest.TranslateSource:
		return unix.NFPROTO_INET, []string{"postrouting"}
	}
	panic("no such hook: " + at)
}

// Run returns what the chains of a hook make of a packet: the first verdict that is no
// accept.
func (tr tracer) Run(at firewalltest.Hook, h firewalltest.Hop) firewalltest.Verdict {
	family, names := chains(at)
	for _, name := range names {
		if v := tr.run(family, name, hop{h}); v != firewalltest.Accept {
			return v
		}
	}
	return firewalltest.Accept
}

// run returns what a chain makes of a frame; without a verdict of its own, the
// policy.
func (tr tracer) run(family byte, chain string, h hop) firewalltest.Verdict {
	for _, t := range tr.tables {
		if t.family == family {
			if v := tr.chain(t, chain, h); v != firewalltest.None {
				return v
			}
			return firewalltest.Accept
		}
	}
	panic("no such table")
}

func (tr tracer) chain(t table, name string, h hop) firewalltest.Verdict {
	for _, c := range t.chains {
		if c.name != name {
			continue
		}
		for _, r := range c.rules {
			if v := tr.rule(t, r, h); v != firewalltest.None {
				return v
			}
		}
		return firewalltest.None
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

func (tr tracer) rule(t table, r rule, h hop) firewalltest.Verdict {
	var reg registers
	for _, e := range r.exprs {
		ok := true
		switch e := e.(type) {
		case *expr.Meta:
			if e.SourceRegister {
				*h.Mark = binary.NativeEndian.Uint32(reg.from(e.Register))
				break
			}
			ok = put(&reg, e.Register, h.meta(e.Key))
		case *expr.Payload:
			ok = put(&reg, e.DestRegister, h.payload(e))
		case *expr.Ct:
			ok = put(&reg, e.Register, h.conntrack(e.Key))
		case *expr.Fib:
			if e.ResultOIF {
				ok = put(&reg, e.Register, wayBackIndex(h.HasWayBack()))
				break
			}
			ok = put(&reg, e.Register, native32(h.DestinationType(e.FlagIIF)))
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
			*h.To = natTarget(e, &reg)
			return firewalltest.Translate
		case *expr.Masq:
			return firewalltest.Masquerade
		case *expr.Verdict:
			return tr.decide(t, e, h)
		default:
			panic(fmt.Sprintf("the tracer does not know %T", e))
		}
		if !ok {
			return firewalltest.None
		}
	}
	return firewalltest.None
}

// nextHop is the destination: no trial goes farther than to a neighbour.
func (h hop) nextHop(key expr.RtKey) []byte {
	if (key == expr.RtNexthop4) != (h.Kind() == frames.IPv4) {
		return nil
	}
	return h.Destination().AsSlice()
}

// wayBackIndex is the index of an interface; 0 is none.
func wayBackIndex(has bool) []byte {
	if has {
		return native32(1)
	}
	return native32(0)
}

func isLimit(e expr.Any) bool {
	l, ok := e.(*expr.Limit)
	return ok && l.Over
}

func (tr tracer) decide(t table, v *expr.Verdict, h hop) firewalltest.Verdict {
	switch v.Kind {
	case expr.VerdictAccept:
		return firewalltest.Accept
	case expr.VerdictDrop:
		return firewalltest.Drop
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
	first := hop{firewalltest.Hop{Frame: h.First}}
	if h.First == nil {
		first.Frame = h.Frame
	}
	ip4 := first.Kind() == frames.IPv4
	switch key {
	case expr.CtKeySTATE:
		return native32(cmp.Or(h.State, expr.CtStateBitNEW))
	case expr.CtKeySTATUS:
		if h.First == nil {
			return native32(0)
		}
		return native32(1 << 5) // IPS_DST_NAT
	case expr.CtKeyPROTODST:
		return first.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
	case ctDestination4:
		if ip4 {
			return first.Frame[14+16 : 14+20]
		}
		return nil
	case ctDestination6:
		if !ip4 {
			return first.Frame[14+24 : 14+40]
		}
		return nil
	}
	panic(fmt.Sprintf("the tracer does not know conntrack key %d", key))
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
		return ifname(h.In)
	case expr.MetaKeyOIFNAME:
		return ifname(h.Out)
	case expr.MetaKeyMARK:
		return native32(*h.Mark)
	case expr.MetaKeyIIFGROUP:
		return native32(h.InGroup)
	case expr.MetaKeyOIFGROUP:
		return native32(h.OutGroup)
	case expr.MetaKeyNFPROTO:
		if h.Kind() == frames.IPv6 {
			return []byte{unix.NFPROTO_IPV6}
		}
		return []byte{unix.NFPROTO_IPV4}
	case expr.MetaKeyL4PROTO:
		switch h.Kind() {
		case frames.IPv4:
			return h.Frame[23:24]
		case frames.IPv6:
			return h.Frame[20:21]
		}
		return nil
	}
	panic(fmt.Sprintf("the tracer does not know meta key %d", key))
}

func (h hop) payload(e *expr.Payload) []byte {
	start := uint32(0)
	switch e.Base {
	case expr.PayloadBaseNetworkHeader:
		start = 14
	case expr.PayloadBaseTransportHeader:
		switch h.Kind() {
		case frames.IPv4:
			start = 14 + uint32(h.Frame[14]&0xf)*4
		case frames.IPv6:
			start = 14 + 40
		default:
			return nil
		}
	}
	if start += e.Offset; start+e.Len > uint32(len(h.Frame)) {
		return nil
	}
	return h.Frame[start : start+e.Len]
}
