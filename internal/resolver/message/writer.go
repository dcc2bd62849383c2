package message

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/miekg/dns"
)

// Writer builds one reply at a time in memory that it keeps.
type Writer struct {
	buf   []byte
	addrs []netip.Addr // scratch for shuffling
}

// keepReply is the largest buffer a writer holds on to, in bytes.
const keepReply = 4096

// Reject replies to a packet that is not to be answered; nil means not at all.
func (w *Writer) Reject(q *Query, v Verdict) []byte {
	switch v {
	case Malformed:
		q.Question, q.EDNS = nil, false // what follows the header cannot be trusted
		return w.Status(&q.Client, dns.RcodeFormatError)
	case NotImplemented:
		q.Question, q.EDNS = nil, false
		return w.Status(&q.Client, dns.RcodeNotImplemented)
	case BadVersion:
		return w.Status(&q.Client, dns.RcodeBadVers)
	}
	return nil
}

// Status is a reply without records. Like every reply it is valid until the next one.
func (w *Writer) Status(c *Client, rcode int) []byte {
	w.begin(c, rcode)
	if c.EDNS {
		// The upper bits of the code live in OPT.
		return w.opt(c, rcode)
	}
	return w.buf
}

// Addresses is a reply with as many of addrs as fit, in random order: whichever
// is first gets the client, and each is first equally often. ttl is how
// long clients may keep them, in seconds.
func (w *Writer) Addresses(c *Client, addrs []netip.Addr, ttl uint32) []byte {
	w.begin(c, dns.RcodeSuccess)
	if len(addrs) == 0 {
		return w.finish(c)
	}
	size := 12 + addrs[0].BitLen()/8
	room := (c.Limit - len(w.buf) - optSize) / size
	if room < len(addrs) {
		w.buf[2] |= flagTC >> 8
	}
	w.addrs = append(w.addrs[:0], addrs...)
	for i := range min(room, len(addrs)) {
		j := i + rand.IntN(len(addrs)-i)
		w.addrs[i], w.addrs[j] = w.addrs[j], w.addrs[i]
		w.address(w.addrs[i], ttl)
	}
	return w.finish(c)
}

func (w *Writer) address(a netip.Addr, ttl uint32) {
	if a.Is4() {
		raw := a.As4()
		w.record(dns.TypeA, raw[:], ttl)
	} else {
		raw := a.As16()
		w.record(dns.TypeAAAA, raw[:], ttl)
	}
}

// Pointer is a reply to a PTR query: the name, in wire form, of the address asked for.
func (w *Writer) Pointer(c *Client, name []byte, ttl uint32) []byte {
	w.begin(c, dns.RcodeSuccess)
	w.record(dns.TypePTR, name, ttl)
	return w.finish(c)
}

// begin writes the header and the question.
func (w *Writer) begin(c *Client, rcode int) {
	w.buf = appendReply(w.room(), c, uint16(rcode&rcodeMask))
}

// room is an empty buffer, not a huge one from earlier.
func (w *Writer) room() []byte {
	if cap(w.buf) == 0 || cap(w.buf) > keepReply {
		w.buf = make([]byte, 0, PlainUDP)
	}
	return w.buf[:0]
}

func appendReply(buf []byte, c *Client, bits uint16) []byte {
	questions := uint16(1)
	if c.Question == nil {
		questions = 0
	}
	buf = appendHeader(buf, c.ID, flagQR|flagRA|c.Flags&(opcodeMask|FlagRD|FlagCD)|bits, questions)
	return append(buf, c.Question...)
}

func appendHeader(buf []byte, id, bits, questions uint16) []byte {
	buf = binary.BigEndian.AppendUint16(buf, id)
	buf = binary.BigEndian.AppendUint16(buf, bits)
	buf = binary.BigEndian.AppendUint16(buf, questions)
	return append(buf, 0, 0, 0, 0, 0, 0)
}

// record adds an answer about the name in the question.
func (w *Writer) record(kind uint16, data []byte, ttl uint32) {
	const question = 0xc000 | HeaderSize // a pointer to the question's name
	w.buf = binary.BigEndian.AppendUint16(w.buf, question)
	w.buf = binary.BigEndian.AppendUint16(w.buf, kind)
	w.buf = binary.BigEndian.AppendUint16(w.buf, dns.ClassINET)
	w.buf = binary.BigEndian.AppendUint32(w.buf, ttl)
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(data)))
	w.buf = append(w.buf, data...)
	answers := w.buf[6:8]
	binary.BigEndian.PutUint16(answers, binary.BigEndian.Uint16(answers)+1)
}

func (w *Writer) finish(c *Client) []byte {
	if c.EDNS {
		return w.opt(c, dns.RcodeSuccess)
	}
	return w.buf
}

// opt closes the reply to a query that had OPT with one of ours.
func (w *Writer) opt(c *Client, rcode int) []byte {
	w.buf = appendOPT(w.buf, ednsUDP, uint32(rcode>>4)<<24|optFlags(c.DO))
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

func optFlags(do bool) uint32 {
	if do {
		return flagDO
	}
	return 0
}
