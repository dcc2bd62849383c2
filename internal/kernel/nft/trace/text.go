package trace

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// maxShown is how many elements of a set are written out.
const maxShown = 8

// Text is a rule in the words of nft(8), counters left out. What cannot be said in them is
// named by its kind.
func (t *Table) Text(r *Rule) string {
	w := writer{table: t, terms: map[int]term{}}
	for _, e := range r.Exprs {
		w.expression(e)
	}
	for _, name := range r.Unknown {
		w.say("(" + name + ")")
	}
	if r.Comment != "" && t.Name != "linkspan" {
		w.say(fmt.Sprintf("comment %q", r.Comment))
	}
	return shorter(strings.Join(w.words, " "))
}

// shorter leaves out what nft leaves out: a family or protocol that what follows implies.
func shorter(text string) string {
	pairs := []string{"meta nfproto ipv4 ip ", "ip ", "meta nfproto ipv6 ip6 ", "ip6 "}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		pairs = append(pairs, "meta l4proto "+protocol+" th ", protocol+" ")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// term is what a register holds, in words.
type term struct {
	name  string
	write func([]byte) string
	mask  []byte
}

type writer struct {
	table *Table
	terms map[int]term // by where the register begins
	words []string
}

func (w *writer) say(words ...string) { w.words = append(w.words, words...) }

func (w *writer) expression(e expr.Any) {
	switch e := e.(type) {
	case *expr.Counter:
	case *expr.Meta, *expr.Payload, *expr.Ct, *expr.Fib, *expr.Rt, *expr.Socket, *expr.Immediate:
		w.load(e)
	case *expr.Bitwise:
		x := w.terms[at(e.SourceRegister)]
		x.mask = e.Mask
		w.terms[at(e.DestRegister)] = x
	case *expr.Byteorder:
		w.terms[at(e.DestRegister)] = w.terms[at(e.SourceRegister)]
	case *expr.Cmp:
		w.compare(e)
	case *expr.Range:
		x := w.terms[at(e.Register)]
		w.say(x.name, operator(e.Op)+x.text(e.FromData)+"-"+x.text(e.ToData))
	case *expr.Lookup:
		w.lookup(e)
	case *expr.Match:
		w.say(matchText(e))
	default:
		w.statement(e)
	}
}

func (x term) text(b []byte) string {
	if x.write == nil {
		return fmt.Sprintf("0x%x", b)
	}
	return x.write(b)
}

// operator is how a comparison is written before a value.
func operator(op expr.CmpOp) string {
	return map[expr.CmpOp]string{expr.CmpOpNeq: "!= ", expr.CmpOpLt: "< ", expr.CmpOpLte: "<= ", expr.CmpOpGt: "> ", expr.CmpOpGte: ">= "}[op]
}

func (w *writer) compare(e *expr.Cmp) {
	x := w.terms[at(e.Register)]
	value := x.text(e.Data)
	switch length, isPrefix := prefixLength(x.mask); {
	case x.mask == nil && strings.HasSuffix(x.name, "addr") && len(e.Data) < 16 && len(e.Data) != 4 && len(e.Data) != 6:
		value = partial(x.name, e.Data)
	case x.mask == nil:
	case isPrefix && strings.HasSuffix(x.name, "addr"):
		value += "/" + strconv.Itoa(length)
	case strings.HasPrefix(x.name, "ct st") && strings.Trim(string(e.Data), "\x00") == "": // ct state established,related
		not := map[expr.CmpOp]string{expr.CmpOpEq: "! "}
		w.say(x.name, not[e.Op]+x.text(x.mask))
		return
	default:
		w.say(x.name, "&", x.text(x.mask), cmpWord(e.Op), value)
		return
	}
	w.say(x.name, operator(e.Op)+value)
}

func cmpWord(op expr.CmpOp) string {
	if op == expr.CmpOpEq {
		return "=="
	}
	return strings.TrimSpace(operator(op))
}

// partial is an address of which the first bytes alone are compared.
func partial(name string, b []byte) string {
	size := 4
	if strings.HasPrefix(name, "ip6") {
		size = 16
	}
	whole := make([]byte, size)
	copy(whole, b)
	a, _ := netip.AddrFromSlice(whole)
	return a.String() + "/" + strconv.Itoa(8*len(b))
}

func prefixLength(mask []byte) (n int, ok bool) {
	for i, b := range mask {
		n += bits.OnesCount8(b)
		if b != 0xff {
			return n, bits.LeadingZeros8(^b) == bits.OnesCount8(b) && !slices.ContainsFunc(mask[i+1:], func(b byte) bool { return b != 0 })
		}
	}
	return n, mask != nil
}

func (w *writer) lookup(e *expr.Lookup) {
	not := ""
	if e.Invert {
		not = "!= "
	}
	s := w.table.Sets[e.SetName]
	var names []string
	start := at(e.SourceRegister)
	writers := []term{}
	for _, offset := range s.offsets() {
		if x, ok := w.terms[start+offset]; ok {
			names, writers = append(names, x.name), append(writers, x)
		}
	}
	to := "@" + e.SetName
	if s != nil && s.Anonymous {
		to = s.shown(writers)
	}
	if e.IsDestRegSet {
		to = "map " + to
		if e.DestRegister != unix.NFT_REG_VERDICT {
			w.terms[at(e.DestRegister)] = term{name: strings.Join(names, " . ") + " " + to}
			return
		}
		to = "v" + to
	}
	w.say(strings.Join(names, " . "), not+to)
}

// offsets are where the fields of a set's keys begin, as far as its types tell.
func (s *Set) offsets() []int {
	sizes := map[uint32]int{2: 1, 7: 4, 8: 16, 9: 6, 12: 1, 13: 2, 41: unix.IFNAMSIZ} // nft's include/datatype.h
	out, next := []int{0}, 0
	if s == nil {
		return out
	}
	for i, t := range s.Types {
		if i > 0 {
			out = append(out, next)
		}
		size, ok := sizes[uint32(t)]
		if !ok {
			break
		}
		next += align(size)
	}
	return out
}

// shown is the elements of a set that is part of a rule.
func (s *Set) shown(fields []term) string {
	var out []string
	for _, e := range s.Elements {
		if len(out) == maxShown {
			out = append(out, "...")
			break
		}
		if len(fields) != 1 {
			out = append(out, fmt.Sprintf("0x%x", e.Key))
			continue
		}
		text := fields[0].text([]byte(e.Key))
		if e.CatchAll {
			text = "*"
		}
		switch {
		case s.Interval && e.After != "" && before(e.After) != e.Key:
			text += "-" + fields[0].text([]byte(before(e.After)))
		case e.Verdict != nil:
			text += " : " + strings.TrimSpace(verdictWord(e.Verdict))
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return "{ " + strings.Join(out, ", ") + " }"
}

// before is the value before one, both as big-endian numbers.
func before(v string) string {
	b := []byte(v)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			break
		}
	}
	return string(b)
}

func verdictWord(v *expr.Verdict) string {
	words := map[expr.VerdictKind]string{
		expr.VerdictAccept: "accept", expr.VerdictDrop: "drop", expr.VerdictReturn: "return", expr.VerdictJump: "jump ",
		expr.VerdictGoto: "goto ", expr.VerdictContinue: "continue", expr.VerdictQueue: "queue",
	}
	return words[v.Kind] + v.Chain
}

// statement is for what comes after the matches.
func (w *writer) statement(e expr.Any) {
	switch e := e.(type) {
	case *expr.Verdict:
		w.say(verdictWord(e))
	case *expr.Limit:
		over := ""
		if e.Over {
			over = "over "
		}
		units := map[expr.LimitTime]string{expr.LimitTimeSecond: "second", expr.LimitTimeMinute: "minute", expr.LimitTimeHour: "hour", expr.LimitTimeDay: "day", expr.LimitTimeWeek: "week"}
		w.say(fmt.Sprintf("limit rate %s%d/%s", over, e.Rate, units[e.Unit]))
	case *expr.Log:
		w.say("log")
		if len(e.Data) > 0 {
			w.say(fmt.Sprintf("prefix %q", strings.TrimRight(string(e.Data), "\x00")))
		}
	case *expr.Reject:
		w.say("reject")
	case *expr.Masq:
		w.say("masquerade")
	case *expr.Redir:
		w.say("redirect")
	case *expr.NAT:
		w.natText(e)
	case *expr.Target:
		w.say(targetText(e))
	case *expr.Dynset:
		w.say("update @" + e.SetName)
	case *expr.Queue:
		w.say("queue")
	case *expr.Notrack:
		w.say("notrack")
	default:
		w.say(fmt.Sprintf("(%T)", e))
	}
}

func (w *writer) natText(e *expr.NAT) {
	word := "dnat to"
	if e.Type == expr.NATTypeSourceNAT {
		word = "snat to"
	}
	if x, ok := w.terms[at(e.RegAddrMin)]; ok && e.RegAddrMin != 0 {
		word += " " + x.name
	}
	if x, ok := w.terms[at(e.RegProtoMin)]; ok && e.RegProtoMin != 0 && !strings.Contains(word, " map ") {
		word += ":" + x.name
	}
	w.say(word)
}

// load remembers what a register holds.
func (w *writer) load(e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		if e.SourceRegister {
			w.say("meta mark set", w.terms[at(e.Register)].name)
			return
		}
		w.terms[at(e.Register)] = metaTerm(e.Key)
	case *expr.Payload:
		if e.OperationType == expr.PayloadWrite {
			w.say("(rewrites the packet)")
			return
		}
		w.terms[at(e.DestRegister)] = payloadTerm(e)
	case *expr.Ct:
		if e.SourceRegister {
			w.say("ct mark set", w.terms[at(e.Register)].name)
			return
		}
		w.terms[at(e.Register)] = ctTerm(e.Key)
	case *expr.Fib:
		w.terms[at(e.Register)] = fibTerm(e)
	case *expr.Rt:
		w.terms[at(e.Register)] = term{name: "rt nexthop", write: addrText}
	case *expr.Socket:
		w.terms[at(e.Register)] = socketTerm(e.Key)
	case *expr.Immediate:
		text := fmt.Sprintf("0x%x", e.Data)
		switch len(e.Data) {
		case 4, 16:
			text = addrText(e.Data)
		case 2:
			text = portText(e.Data)
		}
		w.terms[at(e.Register)] = term{name: text}
	}
}
