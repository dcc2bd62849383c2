package resolver

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// maxStrays is how many datagrams that do not answer the query are passed over
// before a name server is given up: more are somebody guessing.
const maxStrays = 16

// refusal is the status of a server that answers but does not help.
type refusal struct {
	server netip.Addr
	rcode  int
}

func (r refusal) Error() string {
	return fmt.Sprintf("%s answers %s", r.server, dns.RcodeToString[r.rcode])
}

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

var (
	errStrays  = errors.New("too many answers to another question")
	errOther   = errors.New("answer to another question")
	errLetters = errors.New("answer with other letters")
	errGuessed = errors.New("an answer to another question came first")
	errCrowded = errors.New("too many sockets")
)

// exchange takes one step and returns the answer to e if it led to one.
func (f *forwarder) exchange(ctx context.Context, s step, e errand) (*answer, bool, error) {
	begin := f.now()
	reply, err := f.converse(ctx, s, e)
	if err != nil {
		return nil, false, fmt.Errorf("ask %s over %s: %w", s.server, s.network, err)
	}
	e.source.health.took(s.server, f.now().Sub(begin))
	o, err := survey(reply, e.end(), e.qtype)
	if err != nil {
		return nil, false, fmt.Errorf("ask %s over %s: %w", s.server, s.network, err)
	}
	switch o.rcode {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers:
		return nil, false, refusal{s.server, o.rcode}
	}
	a, err := newAnswer(reply, e.end(), o, f.now())
	return a, o.negative, err
}

// converse asks one server in the way it understands and follows up what calls
// for it.
func (f *forwarder) converse(ctx context.Context, s step, e errand) ([]byte, error) {
	m := e.source.health.manner(s.server)
	reply, err := f.once(ctx, s, e, m)
	if errors.Is(err, errGuessed) {
		e.source.health.alarm(s.server)
		m.letters = true
		reply, err = f.once(ctx, s, e, m)
	}
	if errors.Is(err, errLetters) {
		m.letters, m.keeps = false, false
		reply, err = f.otherLetters(ctx, s, e, m)
	}
	if err != nil {
		return nil, err
	}
	if !m.bare && deniesEDNS(reply) {
		bare := m
		bare.bare = true
		again, err := f.once(ctx, s, e, bare)
		if err == nil && !deniesEDNS(again) {
			e.source.health.learn(s.server, true, false)
			reply = again
		}
	}
	if s.network == "udp" && reply[2]&(bitTC>>8) != 0 {
		full := step{s.server, "tcp", s.place}
		if long, err := f.once(ctx, full, e, m); err == nil {
			return long, nil
		}
	}
	return reply, nil
}

// otherLetters deals with an answer that is right but for the case of letters.
// It may come from somebody who guesses, so the server is asked over TCP, where
// guessing is of no use. A server that has none, or changes letters there too,
// is taken at its word.
func (f *forwarder) otherLetters(ctx context.Context, s step, e errand, plain manner) ([]byte, error) {
	sure := step{s.server, "tcp", s.place}
	odd := plain
	odd.letters, odd.keeps = true, true
	reply, err := f.once(ctx, sure, e, odd)
	if err == nil || ctx.Err() != nil {
		return reply, err
	}
	e.source.health.learn(s.server, false, true)
	return f.once(ctx, s, e, plain)
}

// deniesEDNS tells whether reply is that of a server that does not know EDNS
// (RFC 6891 section 7).
func deniesEDNS(reply []byte) bool {
	rcode := reply[3] & rcodeMask
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented
}

// once sends one query, from a port and with an ID that are random, and returns
// the answer to it (RFC 5452 section 9).
func (f *forwarder) once(ctx context.Context, s step, e errand, m manner) ([]byte, error) {
	if !f.sockets.enter() {
		return nil, errCrowded
	}
	defer f.sockets.leave()
	conn, err := f.opener.DialIn(ctx, e.source.namespace, s.network, netip.AddrPortFrom(s.server, dnsPort).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	// A query nobody waits for any longer gives its socket back at once.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	msg, err := e.message(m)
	if err != nil {
		return nil, err
	}
	if s.network == "tcp" {
		return exchangeTCP(conn, msg, e.end(), m)
	}
	return exchangeUDP(conn, msg, e.end(), m)
}

// message is a query with a random ID and, if somebody guesses, letters of random
// case (draft-vixie-dnsext-dns0x20), which he would have to guess too.
func (e errand) message(m manner) ([]byte, error) {
	var random [2 + maxName/8 + 1]byte
	if _, err := crand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("draw a query id: %w", err)
	}
	msg := make([]byte, 0, e.end()+optSize)
	msg = appendHeader(msg, binary.BigEndian.Uint16(random[:]), e.bits, 1)
	msg = append(msg, e.question...)
	if m.letters {
		name := msg[headerSize : len(msg)-4]
		for i, c := range name {
			if 'a' <= c && c <= 'z' && random[2+i/8]>>(i%8)&1 != 0 {
				name[i] = c - 'a' + 'A'
			}
		}
	}
	if !m.bare {
		// OPT is for one hop (RFC 6891 section 6.2.3): options of the client's,
		// such as cookies, are not for a server that we chose.
		msg = appendOPT(msg, ednsUDP, flagDO(e.do))
		msg[11] = 1
	}
	return msg, nil
}

func exchangeUDP(conn net.Conn, msg []byte, end int, m manner) ([]byte, error) {
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	// A server sends no more than the query allows. Some do; the kernel cuts off
	// what is longer than this, and the message is then marked so.
	const most = 4096
	buf := make([]byte, most+1)
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		reply := buf[:min(n, most)]
		if !answers(reply, msg, end) {
			if m.keeps && !m.letters {
				return nil, errGuessed
			}
			continue
		}
		if m.letters && !sameLetters(reply, msg, end) {
			return nil, errLetters
		}
		if n > most || hasNoQuestion(reply) {
			return bareReply(reply, msg, end, n > most), nil
		}
		return bytes.Clone(reply), nil // the buffer is much larger
	}
	return nil, errStrays
}

func exchangeTCP(conn net.Conn, msg []byte, end int, m manner) ([]byte, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	if _, err := conn.Write(append(framed, msg...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	reply := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	switch {
	case !answers(reply, msg, end):
		return nil, errOther
	case m.letters && !sameLetters(reply, msg, end):
		return nil, errLetters
	case hasNoQuestion(reply):
		return bareReply(reply, msg, end, false), nil
	}
	return reply, nil
}

// bareReply is the header of a reply with the question of msg and no records.
func bareReply(reply, msg []byte, end int, cut bool) []byte {
	bits := binary.BigEndian.Uint16(reply[2:])
	if cut {
		bits |= bitTC
	}
	return append(appendHeader(make([]byte, 0, end), 0, bits, 1), msg[headerSize:end]...)
}

// answers tells whether reply is one to msg, whose question ends at end: a
// response with the same ID and the same question. A server that is in trouble may
// leave the question out.
func answers(reply, msg []byte, end int) bool {
	if len(reply) < headerSize || reply[2]&(bitQR>>8) == 0 || !bytes.Equal(reply[:2], msg[:2]) {
		return false
	}
	switch binary.BigEndian.Uint16(reply[4:]) {
	case 0:
		rcode := reply[3] & rcodeMask
		return rcode != dns.RcodeSuccess && rcode != dns.RcodeNameError
	case 1:
		return len(reply) >= end && sameQuestion(reply[headerSize:end], msg[headerSize:end])
	}
	return false
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

// sameLetters tells whether an answer keeps the case of the question's letters.
func sameLetters(reply, msg []byte, end int) bool {
	return hasNoQuestion(reply) || bytes.Equal(reply[headerSize:end], msg[headerSize:end])
}

func hasNoQuestion(reply []byte) bool { return binary.BigEndian.Uint16(reply[4:]) == 0 }
