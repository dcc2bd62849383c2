package message

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxCached is the longest message that is kept, in bytes.
	maxCached = 16 << 10
	// maxSlack is how many bytes behind a message are kept along with it at most. A
	// server may send as much of nothing behind its records as it likes.
	maxSlack = 64
	// staleTTL is what records of an answer whose time is over are still good for, in
	// seconds (RFC 8767 section 5).
	staleTTL = 30
)

// Answer is what a name server said, ready for any client. It is immutable.
type Answer struct {
	Stored time.Time     // when it came
	Life   time.Duration // for how long it may be kept; 0: it is for those who were waiting for it only

	msg   []byte // ID 0, no OPT
	end   int    // where the question ends
	ttls  []int  // of Outline
	addrs []int  // of Outline
}

// Answer makes an answer of a reply, which becomes its memory, and of what Scan found in
// it. A message with OPT in the middle has it taken out by a library: later names may
// point across the gap.
func (q Question) Answer(reply []byte, o Outline, now time.Time) (*Answer, error) {
	msg, end := reply[:o.end], q.end()
	if !o.last {
		var m dns.Msg
		if err := m.Unpack(msg); err != nil {
			return nil, err
		}
		m.Compress, m.Extra = true, withoutOPT(m.Extra)
		packed, err := m.Pack()
		if err != nil {
			return nil, err
		}
		again, err := scan(packed, end, q.Type)
		if err != nil {
			return nil, err
		}
		msg, o.ttls, o.addrs = packed, again.ttls, again.addrs
	} else if o.opt[1] > 0 {
		msg = msg[:o.opt[0]]
		extra := msg[10:12]
		binary.BigEndian.PutUint16(extra, binary.BigEndian.Uint16(extra)-1)
	}
	if cap(msg)-len(msg) > maxSlack {
		msg = bytes.Clone(msg)
	}
	msg[0], msg[1] = 0, 0
	a := &Answer{msg: msg, end: end, ttls: o.ttls, addrs: o.addrs, Stored: now}
	if msg[2]&(flagTC>>8) == 0 && len(msg) <= maxCached {
		a.Life = time.Duration(o.life) * time.Second
	}
	return a, nil
}

// Size is how many bytes of memory the answer takes.
func (a *Answer) Size() int { return len(a.msg) + 8*(len(a.ttls)+len(a.addrs)) }

func withoutOPT(records []dns.RR) []dns.RR {
	var out []dns.RR
	for _, r := range records {
		if r.Header().Rrtype != dns.TypeOPT {
			out = append(out, r)
		}
	}
	return out
}

// Age tells how old the answer is in seconds, and whether its time is over.
func (a *Answer) Age(now time.Time) (seconds uint32, stale bool) {
	d := max(now.Sub(a.Stored), 0)
	return uint32(d / time.Second), d >= a.Life
}

// Answer writes an answer for a client. Its records say for how much longer they
// are good; stale ones are good for staleTTL. If not all fit, there are as many as do:
// clients that cannot ask again over TCP have something at least.
func (w *Writer) Answer(c *Client, a *Answer, now time.Time) []byte {
	room := c.Limit
	if c.EDNS {
		room -= optSize
	}
	counts, end := a.fitting(room)
	w.buf = append(append(w.room(), a.msg[:HeaderSize]...), c.Question...)
	w.buf = append(w.buf, a.msg[a.end:end]...)
	binary.BigEndian.PutUint16(w.buf, c.ID)
	w.buf[2] = w.buf[2]&^(FlagRD>>8) | byte(c.Flags&FlagRD>>8)
	w.buf[3] |= flagRA
	if end < len(a.msg) {
		w.buf[2] |= flagTC >> 8
		for i, n := range counts {
			binary.BigEndian.PutUint16(w.buf[6+2*i:], n)
		}
	}
	w.age(a, now)
	w.rotate(a)
	return w.finish(c)
}

// fitting is how many records of each section fit into size bytes, and where the
// last one ends. What is cut off leaves the rest whole: names point back only.
func (a *Answer) fitting(size int) (counts [3]uint16, end int) {
	if len(a.msg) <= size {
		return counts, len(a.msg)
	}
	at := a.end
	for i := range counts {
		for range binary.BigEndian.Uint16(a.msg[6+2*i:]) {
			r, ok := readRecord(a.msg, at)
			if !ok || r.end > size {
				return counts, at
			}
			at = r.end
			counts[i]++
		}
	}
	return counts, at
}

// age writes what is left of the records' time.
func (w *Writer) age(a *Answer, now time.Time) {
	age, stale := a.Age(now)
	stale = stale && a.Life > 0
	for _, at := range a.ttls {
		if at >= len(w.buf) {
			return
		}
		field := w.buf[at : at+4]
		ttl := binary.BigEndian.Uint32(field)
		if stale {
			ttl = min(ttl, staleTTL)
		} else {
			ttl -= min(age, ttl)
		}
		binary.BigEndian.PutUint32(field, ttl)
	}
}

// rotate lets another address be first each time: name servers do that too, and
// an answer that is kept must not send everybody to the same place.
func (w *Writer) rotate(a *Answer) {
	n := len(a.addrs)
	if n < 2 {
		return
	}
	size := addressSize(binary.BigEndian.Uint16(a.msg[a.end-4:]))
	first := rand.IntN(n)
	for i, at := range a.addrs {
		if at >= len(w.buf) {
			return
		}
		from := a.addrs[(first+i)%n]
		copy(w.buf[at:at+size], a.msg[from:from+size])
	}
}
