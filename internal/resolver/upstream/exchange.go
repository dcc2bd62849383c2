package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/resolver/message"
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
)

// wrap says whom an error is about.
func (s step) wrap(err error) error {
	return fmt.Errorf("ask %s over %s: %w", s.server, s.network, err)
}

// takeStep takes one step and returns the answer to req if it led to one. first, if
// not nil, is its first query.
func (u *Client) takeStep(ctx context.Context, s step, req Request, first func() ([]byte, error)) (*message.Answer, bool, error) {
	begin := u.Now()
	reply, err := u.askServer(ctx, s, req, first)
	if err != nil {
		return nil, false, s.wrap(err)
	}
	return u.read(s, req, reply, begin)
}

// askServer asks one server in the way it understands and follows up what calls
// for it.
func (u *Client) askServer(ctx context.Context, s step, req Request, first func() ([]byte, error)) ([]byte, error) {
	m := req.Servers.health.mode(s.server)
	if first == nil {
		first = func() ([]byte, error) { return u.askOnce(ctx, s, req, m) }
	}
	reply, err := first()
	if errors.Is(err, errSpoofed) {
		req.Servers.health.suspectSpoofing(s.server)
		m.RandomCase = true
		reply, err = u.askOnce(ctx, s, req, m)
	}
	if errors.Is(err, errCase) {
		m.RandomCase, m.keepsCase = false, false
		reply, err = u.confirmOverTCP(ctx, s, req, m)
	}
	if err != nil {
		return nil, err
	}
	if !m.NoEDNS && message.DeniesEDNS(reply) {
		bare := m
		bare.NoEDNS = true
		again, err := u.askOnce(ctx, s, req, bare)
		if err == nil && !message.DeniesEDNS(again) {
			req.Servers.health.remember(s.server, true, false)
			reply = again
		}
	}
	if s.network == "udp" && message.IsTruncated(reply) {
		full := step{s.server, "tcp", s.place}
		if long, err := u.askOnce(ctx, full, req, m); err == nil {
			return long, nil
		}
	}
	return reply, nil
}

// confirmOverTCP deals with an answer that is right but for the case of letters.
// It may come from somebody who guesses, so the server is asked over TCP, where
// guessing is of no use. A server that has none, or changes letters there too,
// is taken at its word.
func (u *Client) confirmOverTCP(ctx context.Context, s step, req Request, plain queryMode) ([]byte, error) {
	sure := step{s.server, "tcp", s.place}
	odd := plain
	odd.RandomCase, odd.keepsCase = true, true
	reply, err := u.askOnce(ctx, sure, req, odd)
	if err == nil || ctx.Err() != nil {
		return reply, err
	}
	req.Servers.health.remember(s.server, false, true)
	return u.askOnce(ctx, s, req, plain)
}

// askOnce sends one query and returns the answer to it.
func (u *Client) askOnce(ctx context.Context, s step, req Request, m queryMode) ([]byte, error) {
	c, err := u.send(ctx, s, req, m)
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
	client  *Client
	socket  *os.File
	share   *limits.Share
	forget  func() bool // the context
	network string
	sent    message.Sent
	mode    queryMode
}

// send sends a query. A query that nobody waits for any longer gives its socket
// back at once.
func (u *Client) send(ctx context.Context, s step, req Request, m queryMode) (*call, error) {
	if !req.Sockets.Enter() {
		return nil, ErrNoSocket
	}
	c := &call{client: u, share: req.Sockets, network: s.network, mode: m}
	var err error
	if c.socket, err = u.socket(ctx, s, req); err == nil {
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
func (u *Client) socket(ctx context.Context, s step, req Request) (*os.File, error) {
	network := s.network + "6"
	if s.server.Unmap().Is4() {
		network = s.network + "4"
	}
	if s.network == "udp" {
		return req.Pool.take(ctx, network)
	}
	sockets, err := u.Opener.Open(ctx, req.Servers.Namespace, network, 1)
	if err != nil {
		return nil, err
	}
	return sockets[0], nil
}

func (c *call) send(ctx context.Context, s step, req Request) error {
	if err := c.client.Opener.Connect(ctx, c.socket, netip.AddrPortFrom(s.server, dnsPort)); err != nil {
		return err
	}
	sent, err := req.Query(c.mode.Style)
	if err != nil {
		return err
	}
	c.sent = sent
	msg := sent.Bytes()
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

// maxDatagram is what is read of a datagram. A server sends no more than the query
// allows; some do, and what is longer than this is marked as cut off.
const maxDatagram = 4096

type buffer [maxDatagram + 1]byte

func (c *call) receiveUDP() ([]byte, error) {
	buf := c.client.buffers.Get().(*buffer)
	defer c.client.buffers.Put(buf)
	for range maxStrays {
		n, err := c.socket.Read(buf[:])
		if err != nil && !errors.Is(err, io.EOF) { // a datagram may be empty
			return nil, err
		}
		reply := buf[:min(n, maxDatagram)]
		if !c.sent.Matches(reply) {
			if c.mode.keepsCase && !c.mode.RandomCase {
				return nil, errSpoofed
			}
			continue
		}
		if c.mode.RandomCase && !c.sent.SameCase(reply) {
			return nil, errCase
		}
		if n > maxDatagram || message.HasNoQuestion(reply) {
			return c.sent.HeaderOnly(reply, n > maxDatagram), nil
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
	case !c.sent.Matches(reply):
		return nil, errMismatch
	case c.mode.RandomCase && !c.sent.SameCase(reply):
		return nil, errCase
	case message.HasNoQuestion(reply):
		return c.sent.HeaderOnly(reply, false), nil
	}
	return reply, nil
}
