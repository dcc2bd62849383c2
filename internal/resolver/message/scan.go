package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"github.com/miekg/dns"
)

// Bounds on how long answers of name servers are kept.
const (
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour // RFC 2308 section 5 speaks of one to three
)

// Outline is what there is to know about a message of a name server without
// looking into its records' data.
type Outline struct {
	Rcode    int  // with the upper bits from OPT
	Negative bool // it says that something is not there

	ttls  []int // where the TTLs of records are, that of OPT not among them
	opt   [2]int
	last  bool   // OPT, if any, is the last record
	end   int    // where the last record ends; what follows is nothing
	addrs []int  // where the addresses asked for are, if they may change places
	life  uint32 // seconds for which it may be kept; 0 not at all
}

var errMalformed = errors.New("malformed message")

// Scan walks the records of a reply to the question; see Sent.Matches.
func (q Question) Scan(reply []byte) (Outline, error) {
	if len(reply) < q.end() {
		return Outline{}, errMalformed
	}
	return scan(reply, q.end(), q.Type)
}

// scan walks the records behind the question, which ends at end. Pointers are
// not followed but must point back, so that nobody runs in circles.
func scan(msg []byte, end int, qtype uint16) (Outline, error) {
	o := Outline{Rcode: int(msg[3] & rcodeMask), last: true, Negative: true}
	answers := int(binary.BigEndian.Uint16(msg[6:]))
	authorities := int(binary.BigEndian.Uint16(msg[8:]))
	total := answers + authorities + int(binary.BigEndian.Uint16(msg[10:]))
	least, soa := uint32(maxTTL/time.Second), false
	var first []byte // the name and fixed part that all addresses must have
	alike := true
	at := end
	for i := range total {
		r, ok := readRecord(msg, at)
		if !ok {
			return Outline{}, errMalformed
		}
		if r.kind == dns.TypeOPT {
			if i < answers+authorities || o.opt[1] > 0 {
				return Outline{}, errMalformed
			}
			o.opt, o.last = [2]int{at, r.end}, i == total-1
			o.Rcode |= int(r.ttl>>24) << 4
			at = r.end
			continue
		}
		o.ttls = append(o.ttls, r.at+4)
		switch {
		case i < answers:
			least = min(least, r.lifetime())
			o.Negative = o.Negative && r.kind != qtype && qtype != dns.TypeANY
			if r.kind == qtype && addressSize(qtype) == r.end-r.at-10 {
				// Names are compared as they are written, which is enough:
				// servers write a name that comes again in the same way.
				same := msg[at : r.at+8]
				if len(o.addrs) == 0 {
					first = same
				}
				alike = alike && bytes.Equal(same, first)
				o.addrs = append(o.addrs, r.at+10)
			}
		case i < answers+authorities && r.kind == dns.TypeSOA:
			least, soa = min(least, r.lifetime(), r.minimum(msg)), true
		}
		at = r.end
	}
	if !alike {
		o.addrs = nil
	}
	o.end = at
	o.Negative = o.Negative || o.Rcode == dns.RcodeNameError
	o.life = o.keepFor(least, soa)
	return o, nil
}

// addressSize is the number of bytes in an address record's data; 0 for others.
func addressSize(qtype uint16) int {
	switch qtype {
	case dns.TypeA:
		return 4
	case dns.TypeAAAA:
		return 16
	}
	return 0
}

// keepFor applies RFC 2308: what is not there is remembered as long as the SOA
// record says, and not at all without one.
func (o Outline) keepFor(least uint32, soa bool) uint32 {
	switch {
	case o.Rcode != dns.RcodeSuccess && o.Rcode != dns.RcodeNameError:
		return 0
	case !o.Negative:
		return least
	case soa:
		return min(least, uint32(maxNegativeTTL/time.Second))
	}
	return 0
}

// record is the fixed part of a resource record.
type record struct {
	at   int // where the type is
	kind uint16
	ttl  uint32
	end  int
}

func readRecord(msg []byte, at int) (record, bool) {
	r := record{at: skipBack(msg, at)}
	if r.at < 0 || r.at+10 > len(msg) {
		return r, false
	}
	r.kind = binary.BigEndian.Uint16(msg[r.at:])
	r.ttl = binary.BigEndian.Uint32(msg[r.at+4:])
	r.end = r.at + 10 + int(binary.BigEndian.Uint16(msg[r.at+8:]))
	return r, r.end <= len(msg)
}

// lifetime is the TTL in seconds; one with the highest bit is 0 (RFC 2181
// section 8).
func (r record) lifetime() uint32 {
	if r.ttl > 1<<31-1 {
		return 0
	}
	return r.ttl
}

// minimum is the last field of an SOA record.
func (r record) minimum(msg []byte) uint32 {
	if r.end-r.at < 10+4 {
		return 0
	}
	return binary.BigEndian.Uint32(msg[r.end-4:])
}
