package resolver

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// Sizes of the DNS message (RFC 1035 section 4.1, RFC 6891 section 6.1).
const (
	headerSize = 12
	maxName    = 255 // bytes of a name in wire form
	optSize    = 11  // an OPT record without options
	plainUDP   = 512 // largest datagram for a client that says nothing
	// ednsUDP is the largest datagram that we ask for: one that is not cut into
	// fragments on its way, which are easily lost and easily forged.
	ednsUDP    = 1232
	maxUDP     = 65507
	maxMessage = 65535
	// maxQuery bounds a query. The longest name with every EDNS option in use
	// stays far below it.
	maxQuery = 2048
	// maxExtra bounds the records behind the question; OPT and TSIG are two.
	maxExtra = 4
)

// Bits of the second header word.
const (
	bitQR      = 1 << 15
	bitTC      = 1 << 9
	bitRD      = 1 << 8
	bitRA      = 1 << 7
	bitAD      = 1 << 5
	bitCD      = 1 << 4
	opcodeMask = 0xf << 11
	rcodeMask  = 0xf
	bitDO      = 1 << 15 // in the flags of OPT
)

// verdict is what is to become of a packet.
type verdict uint8

const (
	drop           verdict = iota // not a query: an answer to it could start a loop
	malformed                     // FORMERR
	notImplemented                // NOTIMP
	badVersion                    // BADVERS: an EDNS version that is not 0
	good
)

// client is what a reply has to fit.
type client struct {
	id       uint16
	bits     uint16 // of the header
	question []byte // as it came, since clients may check the case of its letters; nil if it cannot be read
	edns     bool
	do       bool
	limit    int // bytes of the longest reply that it takes
}

// keep returns a copy that outlives the packet.
func (c client) keep() client {
	c.question = bytes.Clone(c.question)
	return c
}

// query is one question as it came over the wire. It is reused from packet to
// packet, so nothing in it outlives the handling of one.
type query struct {
	client
	msg     []byte // the packet
	qtype   uint16
	class   uint16
	udpSize uint16

	// exact is false if a label holds a byte that would change the meaning of
	// the name as text; such a name is nobody's.
	exact  bool
	length int
	text   [maxName]byte
}

// name is the name asked for in canonical form, empty for the root.
func (q *query) name() []byte { return q.text[:q.length] }

// parse reads a packet. Only the header, the question and OPT are looked at, by
// hand and without allocation: this is the path of every packet.
func (q *query) parse(msg []byte) verdict {
	if len(msg) < headerSize {
		return drop
	}
	q.msg, q.id, q.bits = msg, binary.BigEndian.Uint16(msg), binary.BigEndian.Uint16(msg[2:])
	q.question, q.edns, q.do, q.udpSize, q.limit = nil, false, false, 0, plainUDP
	switch {
	case q.bits&bitQR != 0:
		return drop
	case q.bits&opcodeMask != dns.OpcodeQuery<<11:
		return notImplemented
	}
	counts := binary.BigEndian.Uint64(msg[4:])
	extra := int(counts & 0xffff)
	if counts>>16 != 1<<32 || extra > maxExtra { // one question, no answers, no authorities
		return malformed
	}
	at, ok := q.readQuestion(headerSize)
	if !ok {
		return malformed
	}
	return q.additional(at, extra)
}

// readQuestion reads the name, type and class at offset at. A pointer in the first
// name of a message has nothing to point to, so it is malformed.
func (q *query) readQuestion(at int) (int, bool) {
	q.length, q.exact = 0, true
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
		if n > 63 || at+n > len(q.msg) || at+n+1-start > maxName {
			return 0, false
		}
		if q.length > 0 {
			q.text[q.length] = '.'
			q.length++
		}
		for _, c := range q.msg[at : at+n] {
			q.exact = q.exact && c != '.' && c != 0
			q.text[q.length] = lower(c)
			q.length++
		}
		at += n
	}
	if at+4 > len(q.msg) {
		return 0, false
	}
	q.qtype = binary.BigEndian.Uint16(q.msg[at:])
	q.class = binary.BigEndian.Uint16(q.msg[at+2:])
	q.question = q.msg[start : at+4]
	return at + 4, true
}

// additional walks the records behind the question for OPT.
func (q *query) additional(at, count int) verdict {
	result := good
	for range count {
		name := at
		at = skipName(q.msg, at)
		if at < 0 || at+10 > len(q.msg) {
			return malformed
		}
		kind := binary.BigEndian.Uint16(q.msg[at:])
		size, ttl := binary.BigEndian.Uint16(q.msg[at+2:]), binary.BigEndian.Uint32(q.msg[at+4:])
		root := at == name+1
		at += 10 + int(binary.BigEndian.Uint16(q.msg[at+8:]))
		if at > len(q.msg) {
			return malformed
		}
		if kind != dns.TypeOPT {
			continue
		}
		if q.edns || !root { // RFC 6891 section 6.1.1
			return malformed
		}
		q.edns, q.udpSize, q.do = true, size, ttl&bitDO != 0
		if ttl>>16&0xff != 0 {
			result = badVersion
		}
	}
	return result
}

// skipName returns the offset behind the name at offset at; -1 if it does not
// end inside msg.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		n := int(msg[at])
		switch {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			return at + 2
		case n > 63:
			return -1
		}
		at += 1 + n
	}
	return -1
}

// udpLimit is the largest datagram the client takes, in bytes.
func (q *query) udpLimit() int {
	if !q.edns {
		return plainUDP
	}
	return min(max(int(q.udpSize), plainUDP), maxUDP)
}

// reverseAddr returns the address of a reverse name in canonical form
// (RFC 1035 section 3.5, RFC 3596 section 2.5).
func reverseAddr(name []byte) (netip.Addr, bool) {
	const v4, v6 = ".in-addr.arpa", ".ip6.arpa"
	if rest, ok := cutSuffix(name, v4); ok {
		return reverse4(rest)
	}
	if rest, ok := cutSuffix(name, v6); ok {
		return reverse6(rest)
	}
	return netip.Addr{}, false
}

func cutSuffix(name []byte, suffix string) ([]byte, bool) {
	n := len(name) - len(suffix)
	if n < 0 || string(name[n:]) != suffix {
		return nil, false
	}
	return name[:n], true
}

func reverse4(name []byte) (netip.Addr, bool) {
	var a [4]byte
	i, value, digits := 3, 0, 0
	for _, c := range name {
		switch {
		case c == '.' && digits > 0 && i > 0:
			a[i] = byte(value)
			i, value, digits = i-1, 0, 0
		case '0' <= c && c <= '9' && (digits == 0 || value > 0):
			value, digits = value*10+int(c-'0'), digits+1
			if value > 255 {
				return netip.Addr{}, false
			}
		default:
			return netip.Addr{}, false
		}
	}
	a[0] = byte(value)
	return netip.AddrFrom4(a), i == 0 && digits > 0
}

func reverse6(name []byte) (netip.Addr, bool) {
	var a [16]byte
	if len(name) != 63 {
		return netip.Addr{}, false
	}
	for i, c := range name {
		if i%2 == 1 {
			if c != '.' {
				return netip.Addr{}, false
			}
			continue
		}
		digit, ok := hexDigit(c)
		if !ok {
			return netip.Addr{}, false
		}
		nibble := 31 - i/2
		a[nibble/2] |= digit << (4 * (1 - nibble%2))
	}
	return netip.AddrFrom16(a), true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
