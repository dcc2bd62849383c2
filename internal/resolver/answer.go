package resolver

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/model"
)

// answerTTL is how long clients may keep the address of a local name, in
// seconds; Docker's value.
const answerTTL = 600

// writer builds one reply at a time in memory that it keeps.
type writer struct {
	buf   []byte
	addrs []netip.Addr // scratch for shuffling
	key   []byte       // scratch for cacheKey
}

// keepReply is the largest buffer a writer holds on to, in bytes.
const keepReply = 4096

// answer replies to q from what is known here; false means that others are to
// be asked. The reply is valid until the writer's next.
func (t *table) answer(v *view, q *query, w *writer) ([]byte, bool) {
	if q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR {
		return w.status(&q.client, dns.RcodeRefused), true // an answer may be many messages
	}
	if !q.exact {
		return nil, false
	}
	if a, ok := reverseAddr(q.name()); ok {
		return t.answerReverse(v, q, w, a)
	}
	addrs, found := t.find(v, q.name(), familyOf(q.qtype))
	switch {
	case found == known && q.class != dns.ClassINET: // without records, and nobody else's either
		return w.status(&q.client, dns.RcodeSuccess), true
	case found == known:
		return w.addresses(&q.client, addrs), true
	case found == dangling:
		return w.status(&q.client, dns.RcodeNameError), true
	case v.row.NDots > 0 && singleLabel(q):
		// The client goes on to its search domains; the bare name is not for
		// the world (Docker's rule).
		return w.status(&q.client, dns.RcodeSuccess), true
	}
	return nil, false
}

func (t *table) answerReverse(v *view, q *query, w *writer, a netip.Addr) ([]byte, bool) {
	target := t.findReverse(v, a)
	switch {
	case target == nil:
		return nil, false
	case q.qtype != dns.TypePTR || q.class != dns.ClassINET:
		return w.status(&q.client, dns.RcodeSuccess), true
	}
	w.begin(&q.client, dns.RcodeSuccess)
	w.record(dns.TypePTR, target)
	return w.finish(&q.client), true
}

func familyOf(qtype uint16) model.Family {
	switch qtype {
	case dns.TypeA:
		return model.IPv4
	case dns.TypeAAAA:
		return model.IPv6
	}
	return 0
}

func singleLabel(q *query) bool {
	if familyOf(q.qtype) == 0 || q.length == 0 {
		return false
	}
	for _, c := range q.name() {
		if c == '.' {
			return false
		}
	}
	return true
}

// reject replies to a packet that is not to be answered; nil means not at all.
func (w *writer) reject(q *query, v verdict) []byte {
	switch v {
	case malformed:
		q.question, q.edns = nil, false // what follows the header cannot be trusted
		return w.status(&q.client, dns.RcodeFormatError)
	case notImplemented:
		q.question, q.edns = nil, false
		return w.status(&q.client, dns.RcodeNotImplemented)
	case badVersion:
		return w.status(&q.client, dns.RcodeBadVers)
	}
	return nil
}

// status is a reply without records.
func (w *writer) status(c *client, rcode int) []byte {
	w.begin(c, rcode)
	if c.edns {
		// The upper bits of the code live in OPT.
		return w.opt(c, rcode)
	}
	return w.buf
}

// addresses is a reply with as many of addrs as fit, in random order: whichever
// is first gets the client, and each is first equally often.
func (w *writer) addresses(c *client, addrs []netip.Addr) []byte {
	w.begin(c, dns.RcodeSuccess)
	if len(addrs) == 0 {
		return w.finish(c)
	}
	size := 12 + addrs[0].BitLen()/8
	room := (c.limit - len(w.buf) - optSize) / size
	if room < len(addrs) {
		w.buf[2] |= bitTC >> 8
	}
	w.addrs = append(w.addrs[:0], addrs...)
	for i := range min(room, len(addrs)) {
		j := i + rand.IntN(len(addrs)-i)
		w.addrs[i], w.addrs[j] = w.addrs[j], w.addrs[i]
		w.address(w.addrs[i])
	}
	return w.finish(c)
}

func (w *writer) address(a netip.Addr) {
	if a.Is4() {
		raw := a.As4()
		w.record(dns.TypeA, raw[:])
	} else {
		raw := a.As16()
		w.record(dns.TypeAAAA, raw[:])
	}
}

// begin writes the header and the question.
func (w *writer) begin(c *client, rcode int) {
	w.buf = appendReply(w.room(), c, uint16(rcode&rcodeMask))
}

// room is an empty buffer, not a huge one from earlier.
func (w *writer) room() []byte {
	if cap(w.buf) == 0 || cap(w.buf) > keepReply {
		w.buf = make([]byte, 0, plainUDP)
	}
	return w.buf[:0]
}

func appendReply(buf []byte, c *client, bits uint16) []byte {
	questions := uint16(1)
	if c.question == nil {
		questions = 0
	}
	buf = appendHeader(buf, c.id, bitQR|bitRA|c.bits&(opcodeMask|bitRD|bitCD)|bits, questions)
	return append(buf, c.question...)
}

func appendHeader(buf []byte, id, bits, questions uint16) []byte {
	buf = binary.BigEndian.AppendUint16(buf, id)
	buf = binary.BigEndian.AppendUint16(buf, bits)
	buf = binary.BigEndian.AppendUint16(buf, questions)
	return append(buf, 0, 0, 0, 0, 0, 0)
}

// record adds an answer about the name in the question.
func (w *writer) record(kind uint16, data []byte) {
	const question = 0xc000 | headerSize // a pointer to the question's name
	w.buf = binary.BigEndian.AppendUint16(w.buf, question)
	w.buf = binary.BigEndian.AppendUint16(w.buf, kind)
	w.buf = binary.BigEndian.AppendUint16(w.buf, dns.ClassINET)
	w.buf = binary.BigEndian.AppendUint32(w.buf, answerTTL)
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(data)))
	w.buf = append(w.buf, data...)
	answers := w.buf[6:8]
	binary.BigEndian.PutUint16(answers, binary.BigEndian.Uint16(answers)+1)
}

func (w *writer) finish(c *client) []byte {
	if c.edns {
		return w.opt(c, dns.RcodeSuccess)
	}
	return w.buf
}

// opt closes the reply to a query that had OPT with one of ours.
func (w *writer) opt(c *client, rcode int) []byte {
	w.buf = appendOPT(w.buf, ednsUDP, uint32(rcode>>4)<<24|flagDO(c.do))
	extra := w.buf[10:12]
	binary.BigEndian.PutUint16(extra, binary.BigEndian.Uint16(extra)+1)
	return w.buf
}

func appendOPT(buf []byte, size uint16, ttl uint32) []byte {
	buf = append(buf, 0)
	buf = binary.BigEndian.AppendUint16(buf, dns.TypeOPT)
	buf = binary.BigEndian.AppendUint16(buf, size)
	buf = binary.BigEndian.AppendUint32(buf, ttl)
	return append(buf, 0, 0)
}

func flagDO(do bool) uint32 {
	if do {
		return bitDO
	}
	return 0
}
