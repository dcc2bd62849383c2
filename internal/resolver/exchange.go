package resolver

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/limits"
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

// wrap says whom an error is about.
func (s step) wrap(err error) error {
	return fmt.Errorf("ask %s over %s: %w", s.server, s.network, err)
}

// exchange takes one step and returns the answer to e if it led to one. first, if
// not nil, is its first query.
func (f *forwarder) exchange(ctx context.Context, s step, e errand, first func() ([]byte, error)) (*answer, bool, error) {
	begin := f.now()
	reply, err := f.converse(ctx, s, e, first)
	if err != nil {
		return nil, false, s.wrap(err)
	}
	return f.read(s, e, reply, begin)
}

// converse asks one server in the way it understands and follows up what calls
// for it.
func (f *forwarder) converse(ctx context.Context, s step, e errand, first func() ([]byte, error)) ([]byte, error) {
	m := e.source.health.manner(s.server)
	if first == nil {
		first = func() ([]byte, error) { return f.once(ctx, s, e, m) }
	}
	reply, err := first()
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
	if s.network == "udp" && isCut(reply) {
		full := step{s.server, "tcp", s.place}
		if long, err := f.once(ctx, full, e, m); err == nil {
			return long, nil
		}
	}
	return reply, nil
}

func isCut(reply []byte) bool { return reply[2]&(bitTC>>8) != 0 }

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

// once sends one query and returns the answer to it.
func (f *forwarder) once(ctx context.Context, s step, e errand, m manner) ([]byte, error) {
	c, err := f.call(ctx, s, e, m)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.receive(deadline(ctx))
}

func deadline(ctx context.Context) time.Time {
	t, _ := ctx.Deadline()
	return t
}

// call is one query under way, from a port and with an ID that are random
// (RFC 5452 section 9).
type call struct {
	forwarder *forwarder
	socket    *os.File
	share     *limits.Share
	forget    func() bool // the context
	network   string
	msg       []byte
	end       int // of the question in msg
	manner    manner
}

// call sends a query. A query that nobody waits for any longer gives its socket
// back at once.
func (f *forwarder) call(ctx context.Context, s step, e errand, m manner) (*call, error) {
	if !e.sockets.Enter() {
		return nil, errCrowded
	}
	c := &call{forwarder: f, share: e.sockets, network: s.network, end: e.end(), manner: m}
	var err error
	if c.socket, err = f.socket(ctx, s, e); err == nil {
		c.forget = context.AfterFunc(ctx, func() { _ = c.socket.Close() })
		err = c.send(ctx, s, e)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// socket returns a socket that was never used.
func (f *forwarder) socket(ctx context.Context, s step, e errand) (*os.File, error) {
	network := s.network + "6"
	if s.server.Unmap().Is4() {
		network = s.network + "4"
	}
	if s.network == "udp" {
		return e.stock.take(ctx, network)
	}
	sockets, err := f.opener.Open(ctx, e.source.namespace, network, 1)
	if err != nil {
		return nil, err
	}
	return sockets[0], nil
}

func (c *call) send(ctx context.Context, s step, e errand) error {
	if err := c.forwarder.opener.Connect(ctx, c.socket, netip.AddrPortFrom(s.server, dnsPort)); err != nil {
		return err
	}
	msg, err := e.message(c.manner)
	if err != nil {
		return err
	}
	c.msg = msg
	if c.network == "tcp" {
		msg = append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...)
	}
	_, err = c.socket.Write(msg)
	return err
}

// receive waits for the answer until a deadline. If it is then given more time,
// it goes on.
func (c *call) receive(until time.Time) ([]byte, error) {
	if err := c.socket.SetReadDeadline(until); err != nil {
		return nil, err
	}
	if c.network == "tcp" {
		return c.receiveTCP()
	}
	return c.receiveUDP()
}

// close gives the socket back. The answer, if any, has come.
func (c *call) close() {
	if c.forget != nil {
		c.forget()
	}
	if c.socket != nil {
		_ = c.socket.Close()
	}
	c.share.Leave()
}

// message is a query with a random ID and, if somebody guesses, letters of random
// case (draft-vixie-dnsext-dns0x20), which he would have to guess too.
func (e errand) message(m manner) ([]byte, error) {
	var random [2 + maxName/8 + 1]byte
	drawn := random[:2]
	if m.letters {
		drawn = random[:]
	}
	if _, err := crand.Read(drawn); err != nil {
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

// longest is what is read of a datagram. A server sends no more than the query
// allows; some do, and what is longer than this is marked as cut off.
const longest = 4096

type buffer [longest + 1]byte

func (c *call) receiveUDP() ([]byte, error) {
	buf := c.forwarder.buffers.Get().(*buffer)
	defer c.forwarder.buffers.Put(buf)
	for range maxStrays {
		n, err := c.socket.Read(buf[:])
		if err != nil && !errors.Is(err, io.EOF) { // a datagram may be empty
			return nil, err
		}
		reply := buf[:min(n, longest)]
		if !answers(reply, c.msg, c.end) {
			if c.manner.keeps && !c.manner.letters {
				return nil, errGuessed
			}
			continue
		}
		if c.manner.letters && !sameLetters(reply, c.msg, c.end) {
			return nil, errLetters
		}
		if n > longest || hasNoQuestion(reply) {
			return bareReply(reply, c.msg, c.end, n > longest), nil
		}
		return bytes.Clone(reply), nil
	}
	return nil, errStrays
}

func (c *call) receiveTCP() ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c.socket, size[:]); err != nil {
		return nil, err
	}
	// The size is what the server says, and memory is for what it sends.
	length := int64(binary.BigEndian.Uint16(size[:]))
	reply, err := io.ReadAll(io.LimitReader(c.socket, length))
	if err != nil {
		return nil, err
	}
	if int64(len(reply)) < length {
		return nil, io.ErrUnexpectedEOF
	}
	switch {
	case !answers(reply, c.msg, c.end):
		return nil, errOther
	case c.manner.letters && !sameLetters(reply, c.msg, c.end):
		return nil, errLetters
	case hasNoQuestion(reply):
		return bareReply(reply, c.msg, c.end, false), nil
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
// response to a query, with the same ID and the same question. A server that is in trouble may
// leave the question out.
func answers(reply, msg []byte, end int) bool {
	const kind = (bitQR | opcodeMask) >> 8
	if len(reply) < headerSize || reply[2]&kind != bitQR>>8 || !bytes.Equal(reply[:2], msg[:2]) {
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
