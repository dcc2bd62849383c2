// Package message reads and writes DNS messages in wire form (RFC 1035 section 4, RFC
// 6891), by hand and without allocation where every packet comes by:
//
//	client -> Query.Parse -> Writer.Status, Addresses, Pointer, Answer -> client
//	            \-> Question -> Sent ... reply -> Sent.Matches -> Scan -> Answer -/
//
// It opens no sockets and trusts no byte of what it is given: each parser takes
// whatever there is, and says so if it is no message.
package message

import (
	"bytes"
	"encoding/binary"

	"github.com/miekg/dns"
)

// Sizes in a DNS message, in bytes (RFC 1035 section 4.1, RFC 6891 section 6.1).
const (
	HeaderSize = 12
	MaxName    = 255 // of a name in wire form
	PlainUDP   = 512 // the largest datagram for a client that says nothing
	MaxMessage = 65535
	// MaxQuery bounds a query. The longest name with every EDNS option in use
	// stays far below it.
	MaxQuery = 2048

	optSize = 11 // an OPT record without options
	maxUDP  = 65507
	// ednsUDP is the largest datagram that we ask for: one that is not cut into
	// fragments on its way, which are easily lost and easily forged.
	ednsUDP = 1232
	// maxExtra bounds the records behind the question; OPT and TSIG are two.
	maxExtra = 4
)

// Bits of the second header word (RFC 1035 section 4.1.1, RFC 4035 section 3).
const (
	flagQR     = 1 << 15
	flagTC     = 1 << 9
	FlagRD     = 1 << 8
	flagRA     = 1 << 7
	FlagAD     = 1 << 5
	FlagCD     = 1 << 4
	opcodeMask = 0xf << 11
	rcodeMask  = 0xf
	flagDO     = 1 << 15 // in the flags of OPT
)

// Verdict is what is to become of a packet.
type Verdict uint8

// What Query.Parse says, and Writer.Reject replies to.
const (
	Drop           Verdict = iota // not a query: an answer to it could start a loop
	Malformed                     // FORMERR
	NotImplemented                // NOTIMP
	BadVersion                    // BADVERS: an EDNS version that is not 0
	Good
)

// Client is what a reply has to fit.
type Client struct {
	ID       uint16
	Flags    uint16 // the second header word
	Question []byte // as it came, since clients may check the case of its letters; nil if it cannot be read
	EDNS     bool   // it had an OPT record
	DO       bool   // it wants DNSSEC's records
	Limit    int    // bytes of the longest reply that it takes
}

// Keep returns a copy that outlives the packet.
func (c Client) Keep() Client {
	c.Question = bytes.Clone(c.Question)
	return c
}

// Query is one question as it came over the wire. It is reused from packet to
// packet, so nothing in it outlives the handling of one.
type Query struct {
	Client
	Type    uint16
	Class   uint16
	msg     []byte // the packet
	udpSize uint16

	// Exact is false if a label holds a byte that would change the meaning of
	// the name as text; such a name is nobody's.
	Exact  bool
	length int
	text   [MaxName]byte
}

// Name returns the name asked for in canonical form, empty for the root. It is valid
// until the next Parse.
func (q *Query) Name() []byte { return q.text[:q.length] }

// Parse reads a packet, which the query refers to from then on. Only the header, the question and OPT are looked at, by
// hand and without allocation: this is the path of every packet.
func (q *Query) Parse(msg []byte) Verdict {
	if len(msg) < HeaderSize {
		return Drop
	}
	q.msg, q.ID, q.Flags = msg, binary.BigEndian.Uint16(msg), binary.BigEndian.Uint16(msg[2:])
	q.Question, q.EDNS, q.DO, q.udpSize, q.Limit = nil, false, false, 0, PlainUDP
	switch {
	case q.Flags&flagQR != 0:
		return Drop
	case q.Flags&opcodeMask != dns.OpcodeQuery<<11:
		return NotImplemented
	}
	counts := binary.BigEndian.Uint64(msg[4:])
	extra := int(counts & 0xffff)
	if counts>>16 != 1<<32 || extra > maxExtra { // one question, no answers, no authorities
		return Malformed
	}
	at, ok := q.readQuestion(HeaderSize)
	if !ok {
		return Malformed
	}
	return q.additional(at, extra)
}

// readQuestion reads the name, type and class at offset at. A pointer in the first
// name of a message has nothing to point to, so it is malformed.
func (q *Query) readQuestion(at int) (int, bool) {
	q.length, q.Exact = 0, true
	start := at
	for {
		if at >= len(q.msg) {
			return 0, false
		}
		n := int(q.msg[at])
		at++
		if n == 0 {
			break
		}
		if n > 63 || at+n > len(q.msg) || at+n+1-start > MaxName {
			return 0, false
		}
		if q.length > 0 {
			q.text[q.length] = '.'
			q.length++
		}
		for _, c := range q.msg[at : at+n] {
			q.Exact = q.Exact && c != '.' && c != 0
			q.text[q.length] = lower(c)
			q.length++
		}
		at += n
	}
	if at+4 > len(q.msg) {
		return 0, false
	}
	q.Type = binary.BigEndian.Uint16(q.msg[at:])
	q.Class = binary.BigEndian.Uint16(q.msg[at+2:])
	q.Question = q.msg[start : at+4]
	return at + 4, true
}

// additional walks the records behind the question for OPT.
func (q *Query) additional(at, count int) Verdict {
	result := Good
	for range count {
		name := at
		at = skipName(q.msg, at)
		if at < 0 || at+10 > len(q.msg) {
			return Malformed
		}
		kind := binary.BigEndian.Uint16(q.msg[at:])
		size, ttl := binary.BigEndian.Uint16(q.msg[at+2:]), binary.BigEndian.Uint32(q.msg[at+4:])
		root := at == name+1
		at += 10 + int(binary.BigEndian.Uint16(q.msg[at+8:]))
		if at > len(q.msg) {
			return Malformed
		}
		if kind != dns.TypeOPT {
			continue
		}
		if q.EDNS || !root { // RFC 6891 section 6.1.1
			return Malformed
		}
		q.EDNS, q.udpSize, q.DO = true, size, ttl&flagDO != 0
		if ttl>>16&0xff != 0 {
			result = BadVersion
		}
	}
	return result
}

// UDPLimit is the largest datagram the client takes, in bytes.
func (q *Query) UDPLimit() int {
	if !q.EDNS {
		return PlainUDP
	}
	return min(max(int(q.udpSize), PlainUDP), maxUDP)
}
