package message

import (
	"bytes"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/miekg/dns"
)

// Question is what name servers are asked. It carries nothing of the client's packet
// but flags and the question, the latter in lower case.
type Question struct {
	Flags uint16
	Text  []byte // in wire form: name, type and class
	Type  uint16
	DO    bool
}

// Forward returns the question for name servers that a query asks. It outlives the
// packet.
func (q *Query) Forward() Question {
	return Question{
		Flags: q.Flags & (FlagRD | FlagAD | FlagCD),
		Text:  AppendFolded(nil, q.Question),
		Type:  q.Type,
		DO:    q.DO,
	}
}

// end is where the question ends in a message about it.
func (q Question) end() int { return HeaderSize + len(q.Text) }

// Style is how a name server is asked.
type Style struct {
	NoEDNS     bool
	RandomCase bool // of the letters (draft-vixie-dnsext-dns0x20), which somebody who guesses would have to guess too
}

// Sent is a query to a name server, by which its answer is known.
type Sent struct {
	msg []byte
	end int // of the question
}

// Bytes returns the message.
func (s Sent) Bytes() []byte { return s.msg }

// Query returns a message that asks the question, with a random ID.
func (q Question) Query(style Style) (Sent, error) {
	var random [2 + MaxName/8 + 1]byte
	drawn := random[:2]
	if style.RandomCase {
		drawn = random[:]
	}
	if _, err := crand.Read(drawn); err != nil {
		return Sent{}, fmt.Errorf("draw a query id: %w", err)
	}
	msg := make([]byte, 0, q.end()+optSize)
	msg = appendHeader(msg, binary.BigEndian.Uint16(random[:]), q.Flags, 1)
	msg = append(msg, q.Text...)
	if style.RandomCase {
		name := msg[HeaderSize : len(msg)-4]
		for i, c := range name {
			if 'a' <= c && c <= 'z' && random[2+i/8]>>(i%8)&1 != 0 {
				name[i] = c - 'a' + 'A'
			}
		}
	}
	if !style.NoEDNS {
		// OPT is for one hop (RFC 6891 section 6.2.3): options of the client's,
		// such as cookies, are not for a server that we chose.
		msg = appendOPT(msg, ednsUDP, optFlags(q.DO))
		msg[11] = 1
	}
	return Sent{msg, q.end()}, nil
}

// Matches tells whether a packet is a reply to the query: a response with the same ID
// and the same question. A server that is in trouble may leave the question out. What
// else is said of replies here is for those that match.
func (s Sent) Matches(reply []byte) bool {
	const kind = (flagQR | opcodeMask) >> 8
	if len(reply) < HeaderSize || reply[2]&kind != flagQR>>8 || !bytes.Equal(reply[:2], s.msg[:2]) {
		return false
	}
	switch binary.BigEndian.Uint16(reply[4:]) {
	case 0:
		rcode := reply[3] & rcodeMask
		return rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError
	case 1:
		return len(reply) >= s.end && sameQuestion(reply[HeaderSize:s.end], s.msg[HeaderSize:s.end])
	}
	return false
}

// SameCase tells whether a reply keeps the case of the question's letters.
func (s Sent) SameCase(reply []byte) bool {
	return HasNoQuestion(reply) || bytes.Equal(reply[HeaderSize:s.end], s.msg[HeaderSize:s.end])
}

// HeaderOnly returns the header of a reply with the query's question and no records,
// marked as truncated if it is to be.
func (s Sent) HeaderOnly(reply []byte, truncated bool) []byte {
	flags := binary.BigEndian.Uint16(reply[2:])
	if truncated {
		flags |= flagTC
	}
	return append(appendHeader(make([]byte, 0, s.end), 0, flags, 1), s.msg[HeaderSize:s.end]...)
}

// HasNoQuestion tells whether a reply leaves the question out.
func HasNoQuestion(reply []byte) bool { return binary.BigEndian.Uint16(reply[4:]) == 0 }

// IsTruncated tells whether there is more over TCP.
func IsTruncated(reply []byte) bool { return reply[2]&(flagTC>>8) != 0 }

// DeniesEDNS tells whether reply is that of a server that does not know EDNS
// (RFC 6891 section 7).
func DeniesEDNS(reply []byte) bool {
	rcode := reply[3] & rcodeMask
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented
}

// sameQuestion compares two questions in wire form, the letters of the name
// without regard to case. The bytes between labels can be folded along with
// them: a length is at most 63, below every letter.
func sameQuestion(a, b []byte) bool {
	name := len(a) - 4
	for i := range name {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return bytes.Equal(a[name:], b[name:])
}
