package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// maxDepth is how deep jumps may lead (NFT_JUMP_STACK_SIZE).
const maxDepth = 16

// evaluation is one packet in one base chain.
type evaluation struct {
	table  *Table
	packet *Packet
	to     netip.AddrPort
	visits []Visit
	doubt  bool
	rules  int
}

// maxRules bounds how many rules one packet is shown.
const maxRules = 1 << 20

// chain returns the verdict of a chain; None if it ends without.
func (e *evaluation) chain(c *Chain, depth int) Verdict {
	for i := range c.Rules {
		if e.rules++; e.rules > maxRules {
			e.doubt = true
			return None
		}
		if v := e.rule(c, i, depth); v != verdictContinue {
			return v
		}
	}
	return None
}

// rule returns what a rule makes of the packet: verdictContinue for nothing.
func (e *evaluation) rule(c *Chain, i, depth int) Verdict {
	m := matching{evaluation: e}
	r := &c.Rules[i]
	v := m.run(r)
	if m.no || !m.said && v == verdictContinue {
		return verdictContinue
	}
	visit := Visit{Table: e.table, Chain: c, Rule: r, Index: i, Verdict: m.verdictText(v), Sets: m.found, Doubt: m.doubt}
	e.visits = append(e.visits, visit)
	if m.doubt != "" {
		e.doubt = e.doubt || v != verdictContinue || m.changes
		return verdictContinue
	}
	switch v {
	case verdictJump, verdictGoto:
		return e.jump(m.chainName, v, depth)
	case TranslateTo, TranslateFrom, Masquerade, Redirect:
		e.to = m.to
	}
	return v
}

func (e *evaluation) jump(name string, v Verdict, depth int) Verdict {
	to := e.table.Chain(name)
	if to == nil || depth >= maxDepth {
		e.doubt = true // changed while it was read
		return verdictContinue
	}
	got := e.chain(to, depth+1)
	switch {
	case got == None && v == verdictGoto:
		return verdictReturn
	case got == verdictReturn && v == verdictGoto:
		return verdictReturn
	case got == None, got == verdictReturn:
		return verdictContinue
	}
	return got
}

// matching is one rule that is looked at.
type matching struct {
	*evaluation
	reg       registers
	no        bool   // it does not match
	said      bool   // it says or changes something without a verdict: log, mark ...
	changes   bool   // it changes what later rules look at
	doubt     string // why it cannot be told
	found     []Found
	chainName string
	to        netip.AddrPort
}

// registers are four of 16 bytes each, numbered from 1; parts of 4 bytes have
// numbers of their own. Words may be unknown.
type registers struct {
	data    [4 * 16]byte
	unknown [4 * 4]bool
}

// at is where a register begins; -1 for one that does not exist.
func at(n uint32) int {
	switch {
	case n >= unix.NFT_REG32_00 && n <= unix.NFT_REG32_15:
		return int(n-unix.NFT_REG32_00) * 4
	case n >= unix.NFT_REG_1 && n <= unix.NFT_REG_4:
		return int(n-unix.NFT_REG_1) * 16
	}
	return -1
}

// get returns size bytes; ok is false if they are not known.
func (r *registers) get(n uint32, size int) (b []byte, ok bool) {
	start := at(n)
	if start < 0 || size < 0 || start+size > len(r.data) {
		return nil, false
	}
	return r.data[start : start+size], !slices.Contains(r.unknown[start/4:(start+align(size))/4], true)
}

// put fills a register, whole words; with known false it is not known.
func (r *registers) put(n uint32, b []byte, known bool) {
	start := at(n)
	if start < 0 || start+align(len(b)) > len(r.data) {
		return
	}
	clear(r.data[start : start+align(len(b))])
	copy(r.data[start:], b)
	for w := start / 4; w < (start+align(len(b)))/4; w++ {
		r.unknown[w] = !known
	}
}

// run goes through a rule's expressions up to its verdict.
func (m *matching) run(r *Rule) Verdict {
	for _, name := range r.Unknown {
		m.unsure("nothing is known of " + name)
	}
	for _, e := range r.Exprs {
		if v := m.expression(e); v != verdictContinue || m.no {
			return v
		}
	}
	return verdictContinue
}

// unsure remembers why it cannot be told, the first time.
func (m *matching) unsure(why string) {
	if m.doubt == "" {
		m.doubt = why
	}
}

// expect goes on if a comparison holds; ok is false if what it compares is not known.
func (m *matching) expect(holds, ok bool, what string) {
	switch {
	case !ok:
		m.unsure(what + " of the packet is not known")
	case !holds:
		m.no = true
	}
}

func (m *matching) expression(e expr.Any) Verdict {
	switch e := e.(type) {
	case *expr.Cmp:
		b, ok := m.reg.get(e.Register, len(e.Data))
		m.expect(compare(b, e.Op, e.Data), ok, "something")
	case *expr.Range:
		b, ok := m.reg.get(e.Register, len(e.FromData))
		within := bytes.Compare(b, e.FromData) >= 0 && bytes.Compare(b, e.ToData) <= 0
		m.expect(within == (e.Op == expr.CmpOpEq), ok && len(e.FromData) == len(e.ToData), "something")
	case *expr.Bitwise:
		m.bitwise(e)
	case *expr.Byteorder:
		m.byteorder(e)
	case *expr.Immediate:
		m.reg.put(e.Register, e.Data, true)
	case *expr.Lookup:
		return m.lookup(e)
	case *expr.Dynset:
		m.said = true
		m.no = slices.ContainsFunc(e.Exprs, isOver) // limits are not reached
	case *expr.Limit:
		m.no = e.Over
	case *expr.Counter, *expr.Notrack, *expr.FlowOffload:
	case *expr.Log:
		m.said = true
	default:
		if m.load(e) {
			return verdictContinue
		}
		return m.decision(e)
	}
	return verdictContinue
}

// decision is for expressions that end a rule, and those of xtables.
func (m *matching) decision(e expr.Any) Verdict {
	switch e := e.(type) {
	case *expr.Verdict:
		return m.verdict(e)
	case *expr.Reject:
		return Reject
	case *expr.Queue:
		return Queue
	case *expr.Masq:
		return Masquerade
	case *expr.Redir:
		port, _ := m.port(e.RegisterProtoMin)
		m.to = netip.AddrPortFrom(netip.Addr{}, port)
		return Redirect
	case *expr.NAT:
		return m.nat(e)
	case *expr.Match:
		m.xtMatch(e)
		return verdictContinue
	case *expr.Target:
		return m.xtTarget(e)
	}
	m.unsure(fmt.Sprintf("nothing is known of %T", e))
	return verdictContinue
}

func isOver(e expr.Any) bool {
	l, ok := e.(*expr.Limit)
	return ok && l.Over
}

func compare(b []byte, op expr.CmpOp, data []byte) bool {
	c := bytes.Compare(b, data)
	switch op {
	case expr.CmpOpEq:
		return c == 0
	case expr.CmpOpNeq:
		return c != 0
	case expr.CmpOpLt:
		return c < 0
	case expr.CmpOpLte:
		return c <= 0
	case expr.CmpOpGt:
		return c > 0
	case expr.CmpOpGte:
		return c >= 0
	}
	return false
}

func (m *matching) bitwise(e *expr.Bitwise) {
	size := len(e.Mask)
	if size == 0 || len(e.Xor) != size { // a shift
		m.reg.put(e.DestRegister, make([]byte, e.Len&63), false)
		return
	}
	b, ok := m.reg.get(e.SourceRegister, size)
	out := make([]byte, size)
	for i := range min(size, len(b)) {
		out[i] = b[i]&e.Mask[i] ^ e.Xor[i]
	}
	m.reg.put(e.DestRegister, out, ok)
}

// byteorder turns values of Size bytes round.
func (m *matching) byteorder(e *expr.Byteorder) {
	size, n := int(e.Size), int(e.Len)
	if n > 64 || size != 2 && size != 4 && size != 8 || n%size != 0 {
		m.unsure("a change of byte order")
		return
	}
	b, ok := m.reg.get(e.SourceRegister, n)
	out := bytes.Clone(b)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 { // else it is the network's already
		for i := 0; i+size <= len(out); i += size {
			slices.Reverse(out[i : i+size])
		}
	}
	m.reg.put(e.DestRegister, out, ok)
}

func (m *matching) lookup(e *expr.Lookup) Verdict {
	s := m.table.Sets[e.SetName]
	if s == nil {
		m.unsure("set " + e.SetName + " could not be read")
		return verdictContinue
	}
	key, ok := m.reg.get(e.SourceRegister, s.width())
	if !ok {
		m.unsure("something of the packet is not known")
		m.reg.put(e.DestRegister, make([]byte, 16), false)
		return verdictContinue
	}
	found, there := s.find(string(key))
	if m.no = there == e.Invert; m.no || !there {
		return verdictContinue
	}
	m.found = append(m.found, Found{s, found})
	switch {
	case !e.IsDestRegSet:
	case found.Verdict != nil:
		return m.verdict(found.Verdict)
	default:
		m.reg.put(e.DestRegister, []byte(found.Data), true)
	}
	return verdictContinue
}

func (m *matching) verdict(v *expr.Verdict) Verdict {
	switch v.Kind {
	case expr.VerdictAccept:
		return Accept
	case expr.VerdictDrop:
		return Drop
	case expr.VerdictReturn:
		return verdictReturn
	case expr.VerdictJump:
		m.chainName = v.Chain
		return verdictJump
	case expr.VerdictGoto:
		m.chainName = v.Chain
		return verdictGoto
	case expr.VerdictContinue:
		return verdictContinue
	case expr.VerdictQueue:
		return Queue
	}
	m.unsure(fmt.Sprintf("nothing is known of verdict %d", v.Kind))
	return verdictContinue
}

func (m *matching) nat(e *expr.NAT) Verdict {
	size := 4
	if e.Family == unix.NFPROTO_IPV6 {
		size = 16
	}
	if e.RegAddrMin != 0 {
		b, ok := m.reg.get(e.RegAddrMin, size)
		if !ok {
			m.unsure("where it is translated to is not known")
			return TranslateTo
		}
		a, _ := netip.AddrFromSlice(b)
		m.to = netip.AddrPortFrom(a, 0)
	}
	if port, ok := m.port(e.RegProtoMin); ok {
		m.to = netip.AddrPortFrom(m.to.Addr(), port)
	}
	if e.Type == expr.NATTypeSourceNAT {
		return TranslateFrom
	}
	return TranslateTo
}

// port is one in a register; 0 if there is none.
func (m *matching) port(register uint32) (uint16, bool) {
	if register == 0 {
		return 0, false
	}
	b, ok := m.reg.get(register, 2)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// verdictText is a verdict as nft says it.
func (m *matching) verdictText(v Verdict) string {
	switch v {
	case verdictJump, verdictGoto:
		return string(v) + " " + m.chainName
	case TranslateTo, TranslateFrom, Redirect:
		return string(v) + " to " + addrPortText(m.to)
	}
	return string(v)
}

// addrPortText prints an address and port of which either may be missing.
func addrPortText(a netip.AddrPort) string {
	switch {
	case !a.Addr().IsValid():
		return fmt.Sprintf(":%d", a.Port())
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}
