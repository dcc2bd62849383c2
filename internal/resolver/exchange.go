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
	errTooManyStrays = errors.New("too many answers to another question")
	errMismatch      = errors.New("answer to another question")
	errCase          = errors.New("answer with other letters")
	errSpoofed       = errors.New("an answer to another question came first")
	errNoSocket      = errors.New("too many sockets")
)

// wrap says whom an error is about.
func (s step) wrap(err error) error {
	return fmt.Errorf("ask %s over %s: %w", s.server, s.network, err)
}

// takeStep takes one step and returns the answer to req if it led to one. first, if
// not nil, is its first query.
func (f *forwarder) takeStep(ctx context.Context, s step, req request, first func() ([]byte, error)) (*answer, bool, error) {
	begin := f.now()
	reply, err := f.askServer(ctx, s, req, first)
	if err != nil {
		return nil, false, s.wrap(err)
	}
	return f.read(s, req, reply, begin)
}

// askServer asks one server in the way it understands and follows up what calls
// for it.
func (f *forwarder) askServer(ctx context.Context, s step, req request, first func() ([]byte, error)) ([]byte, error) {
	m := req.source.health.mode(s.server)
	if first == nil {
		first = func() ([]byte, error) { return f.askOnce(ctx, s, req, m) }
	}
	reply, err := first()
	if errors.Is(err, errSpoofed) {
		req.source.health.suspectSpoofing(s.server)
		m.randomCase = true
		reply, err = f.askOnce(ctx, s, req, m)
	}
	if errors.Is(err, errCase) {
		m.randomCase, m.keepsCase = false, false
		reply, err = f.confirmOverTCP(ctx, s, req, m)
	}
	if err != nil {
		return nil, err
	}
	if !m.noEDNS && deniesEDNS(reply) {
		bare := m
		bare.noEDNS = true
		again, err := f.askOnce(ctx, s, req, bare)
		if err == nil && !deniesEDNS(again) {
			req.source.health.remember(s.server, true, false)
			reply = again
		}
	}
	if s.network == "udp" && isTruncated(reply) {
		full := step{s.server, "tcp", s.place}
		if long, err := f.askOnce(ctx, full, req, m); err == nil {
			return long, nil
		}
	}
	return reply, nil
}

func isTruncated(reply []byte) bool { return reply[2]&(bitTC>>8) != 0 }

// confirmOverTCP deals with an answer that is right but for the case of letters.
// It may come from somebody who guesses, so the server is asked over TCP, where
// guessing is of no use. A server that has none, or changes letters there too,
// is taken at its word.
func (f *forwarder) confirmOverTCP(ctx context.Context, s step, req request, plain queryMode) ([]byte, error) {
	sure := step{s.server, "tcp", s.place}
	odd := plain
	odd.randomCase, odd.keepsCase = true, true
	reply, err := f.askOnce(ctx, sure, req, odd)
	if err == nil || ctx.Err() != nil {
		return reply, err
	}
	req.source.health.remember(s.server, false, true)
	return f.askOnce(ctx, s, req, plain)
}

// deniesEDNS tells whether reply is that of a server that does not know EDNS
// (RFC 6891 section 7).
func deniesEDNS(reply []byte) bool {
	rcode := reply[3] & rcodeMask
	return rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented
}

// askOnce sends one query and returns the answer to it.
func (f *forwarder) askOnce(ctx context.Context, s step, req request, m queryMode) ([]byte, error) {
	c, err := f.send(ctx, s, req, m)
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
	mode      queryMode
}

// send sends a query. A query that nobody waits for any longer gives its socket
// back at once.
func (f *forwarder) send(ctx context.Context, s step, req request, m queryMode) (*call, error) {
	if !req.sockets.Enter() {
		return nil, errNoSocket
	}
	c := &call{forwarder: f, share: req.sockets, network: s.network, end: req.end(), mode: m}
	var err error
	if c.socket, err = f.socket(ctx, s, req); err == nil {
		c.forget = context.AfterFunc(ctx, func() { _ = c.socket.Close() })
		err = c.send(ctx, s, req)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// socket returns a socket that was never used.
func (f *forwarder) socket(ctx context.Context, s step, req request) (*os.File, error) {
	network := s.network + "6"
	if s.server.Unmap().Is4() {
		network = s.network + "4"
	}
	if s.network == "udp" {
		return req.pool.take(ctx, network)
	}
	sockets, err := f.opener.Open(ctx, req.source.namespace, network, 1)
	if err != nil {
		return nil, err
	}
	return sockets[0], nil
}

func (c *call) send(ctx context.Context, s step, req request) error {
	if err := c.forwarder.opener.Connect(ctx, c.socket, netip.AddrPortFrom(s.server, dnsPort)); err != nil {
		return err
	}
	msg, err := req.message(c.mode)
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
func (req request) message(m queryMode) ([]byte, error) {
	var random [2 + maxName/8 + 1]byte
	drawn := random[:2]
	if m.randomCase {
		drawn = random[:]
	}
	if _, err := crand.Read(drawn); err != nil {
		return nil, fmt.Errorf("draw a query id: %w", err)
	}
	msg := make([]byte, 0, req.end()+optSize)
	msg = appendHeader(msg, binary.BigEndian.Uint16(random[:]), req.bits, 1)
	msg = append(msg, req.question...)
	if m.randomCase {
		name := msg[headerSize : len(msg)-4]
		for i, c := range name {
			if 'a' <= c && c <= 'z' && random[2+i/8]>>(i%8)&1 != 0 {
				name[i] = c - 'a' + 'A'
			}
		}
	}
	if !m.noEDNS {
		// OPT is for one hop (RFC 6891 section 6.2.3): options of the client's,
		// such as cookies, are not for a server that we chose.
		msg = appendOPT(msg, ednsUDP, flagDO(req.do))
		msg[11] = 1
	}
	return msg, nil
}

// maxDatagram is what is read of a datagram. A server sends no more than the query
// allows; some do, and what is longer than this is marked as cut off.
const maxDatagram = 4096

type buffer [maxDatagram + 1]byte

func (c *call) receiveUDP() ([]byte, error) {
	buf := c.forwarder.buffers.Get().(*buffer)
	defer c.forwarder.buffers.Put(buf)
	for range maxStrays {
		n, err := c.socket.Read(buf[:])
		if err != nil && !errors.Is(err, io.EOF) { // a datagram may be empty
			return nil, err
		}
		reply := buf[:min(n, maxDatagram)]
		if !answers(reply, c.msg, c.end) {
			if c.mode.keepsCase && !c.mode.randomCase {
				return nil, errSpoofed
			}
			continue
		}
		if c.mode.randomCase && !sameCase(reply, c.msg, c.end) {
			return nil, errCase
		}
		if n > maxDatagram || hasNoQuestion(reply) {
			return headerOnly(reply, c.msg, c.end, n > maxDatagram), nil
		}
		return bytes.Clone(reply), nil
	}
	return nil, errTooManyStrays
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
		return nil, errMismatch
	case c.mode.randomCase && !sameCase(reply, c.msg, c.end):
		return nil, errCase
	case hasNoQuestion(reply):
		return headerOnly(reply, c.msg, c.end, false), nil
	}
	return reply, nil
}

// headerOnly is the header of a reply with the question of msg and no records.
func headerOnly(reply, msg []byte, end int, cut bool) []byte {
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

// sameCase tells whether an answer keeps the case of the question's letters.
func sameCase(reply, msg []byte, end int) bool {
	return hasNoQuestion(reply) || bytes.Equal(reply[headerSize:end], msg[headerSize:end])
}

func hasNoQuestion(reply []byte) bool { return binary.BigEndian.Uint16(reply[4:]) == 0 }
