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
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// maxStrays is how many datagrams that do not answer the query are passed over
// before a name server is given up: more are somebody guessing.
const maxStrays = 16

// forwarder asks name servers what the tables do not know.
type forwarder struct {
	opener      Opener
	hostServers func() []netip.Addr
	hostHealth  health
	serving     *sync.WaitGroup // counts every goroutine
	total       gate
	answerTime  time.Duration
	patience    time.Duration
}

func newForwarder(o Options, serving *sync.WaitGroup) *forwarder {
	return &forwarder{
		opener:      o.Opener,
		hostServers: o.HostServers,
		serving:     serving,
		total:       gate{max: maxForwardsTotal},
		answerTime:  answerTime,
		patience:    patience,
	}
}

// errand is a query on its way to name servers. It carries nothing of the
// client's packet but the flags, the question and the size of answer taken.
type errand struct {
	id      uint16 // the client's
	msg     []byte // with ID 0
	end     int    // where the question ends in msg
	network string // "udp" or "tcp", as the client came
	limit   int    // bytes of the longest answer the client takes
}

func newErrand(q *query, network string, limit int) errand {
	e := errand{id: q.id, end: q.end, network: network, limit: limit}
	e.msg = make([]byte, 0, q.end+optSize)
	e.msg = appendHeader(e.msg, 0, q.bits&(bitRD|bitAD|bitCD), 1)
	e.msg = append(e.msg, q.msg[headerSize:q.end]...)
	if q.edns {
		// OPT is for one hop (RFC 6891 section 6.2.3): options of the client's,
		// such as cookies, are not for a server that we chose.
		size := min(max(q.udpSize, plainUDP), ednsUDP)
		e.msg = appendOPT(e.msg, size, flagDO(q.do))
		e.msg[11] = 1
	}
	return e
}

// failed is the reply to an errand that came to nothing.
func (e errand) failed(rcode int) []byte {
	bits := binary.BigEndian.Uint16(e.msg[2:])
	reply := appendHeader(nil, e.id, bitQR|bitRA|bits&(bitRD|bitCD)|uint16(rcode), 1)
	reply = append(reply, e.msg[headerSize:e.end]...)
	if len(e.msg) > e.end {
		reply = append(reply, e.msg[e.end:]...)
		reply[11] = 1
	}
	return reply
}

// source is where a sandbox's queries go, and from which namespace.
type source struct {
	namespace string
	servers   []netip.Addr
	health    *health
}

// sourceOf applies the rule of who is asked: servers of the sandbox from inside
// it, else the host's from the host, which a sandbox with only internal networks
// must not reach (CVE-2024-29018).
func (f *forwarder) sourceOf(l *listener, v *view) source {
	switch {
	case len(v.row.Servers) > 0:
		return source{l.namespace, v.servers, &l.health}
	case v.row.Internal || f.hostServers == nil:
		return source{}
	}
	// 127.0.0.11 is not ours in the host's namespace: it is what a container
	// finds that itself runs an engine.
	servers := f.hostServers()
	return source{desired.HostNamespace, servers[:min(len(servers), maxServers)], &f.hostHealth}
}

// attempt is what came of asking one server.
type attempt struct {
	server netip.Addr
	reply  []byte
	err    error
}

// ask runs an errand and returns the reply for the client. Servers are asked in
// order: the next one as soon as one fails, or in addition to one that has been
// silent for f.patience. The first good answer counts.
func (f *forwarder) ask(ctx context.Context, src source, e errand) []byte {
	ctx, cancel := context.WithTimeout(ctx, f.answerTime)
	defer cancel()
	todo := src.health.order(src.servers)
	attempts := make(chan attempt, len(todo))
	silent := make([]netip.Addr, 0, maxServers)
	next := time.NewTimer(0)
	defer next.Stop()
	for len(todo) > 0 || len(silent) > 0 {
		select {
		case <-next.C:
			if len(todo) == 0 {
				continue
			}
			server := todo[0]
			todo, silent = todo[1:], append(silent, server)
			f.serving.Go(func() {
				reply, err := f.exchange(ctx, src.namespace, server, e)
				attempts <- attempt{server, reply, err}
			})
			next.Reset(f.patience)
		case a := <-attempts:
			silent = remove(silent, a.server)
			if a.err == nil {
				src.health.note(a.server, silent)
				return e.deliver(a.reply)
			}
			next.Reset(0)
		case <-ctx.Done():
			return e.failed(dns.RcodeServerFailure)
		}
	}
	return e.failed(dns.RcodeServerFailure)
}

func remove(addrs []netip.Addr, a netip.Addr) []netip.Addr {
	for i, b := range addrs {
		if a == b {
			return append(addrs[:i], addrs[i+1:]...)
		}
	}
	return addrs
}

// exchange asks one server, from a port and with an ID that are random, and
// returns its answer if it is one to the question (RFC 5452 section 9).
func (f *forwarder) exchange(ctx context.Context, namespace string, server netip.Addr, e errand) ([]byte, error) {
	address := netip.AddrPortFrom(server, dnsPort).String()
	conn, err := f.opener.DialIn(ctx, namespace, e.network, address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", server, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, fmt.Errorf("ask %s: %w", server, err)
		}
	}
	// A query nobody waits for any longer gives its socket back at once.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var id [2]byte
	if _, err := crand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("draw a query id: %w", err)
	}
	msg := append(id[:], e.msg[2:]...)
	ask := exchangeUDP
	if e.network == "tcp" {
		ask = exchangeTCP
	}
	reply, err := ask(conn, msg, e.end)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	switch rcode := int(reply[3] & rcodeMask); rcode {
	case dns.RcodeServerFailure, dns.RcodeRefused:
		return nil, fmt.Errorf("%s answers %s", server, dns.RcodeToString[rcode])
	}
	return reply, nil
}

func exchangeUDP(conn net.Conn, msg []byte, end int) ([]byte, error) {
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	// A server sends no more than the query allows, which is ednsUDP at most.
	// The kernel cuts off what is longer; the message is then marked so.
	buf := make([]byte, ednsUDP+1)
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if reply := buf[:min(n, ednsUDP)]; answers(reply, msg, end) {
			if n > ednsUDP {
				reply[2] |= bitTC >> 8
			}
			return reply, nil
		}
	}
	return nil, errors.New("too many answers to another question")
}

func exchangeTCP(conn net.Conn, msg []byte, end int) ([]byte, error) {
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
	if !answers(reply, msg, end) {
		return nil, errors.New("answer to another question")
	}
	return reply, nil
}

// answers tells whether reply is one to msg, whose question ends at end: a
// response with the same ID and the same question. An error may leave the
// question out.
func answers(reply, msg []byte, end int) bool {
	if len(reply) < headerSize || reply[2]&(bitQR>>8) == 0 || !bytes.Equal(reply[:2], msg[:2]) {
		return false
	}
	switch binary.BigEndian.Uint16(reply[4:]) {
	case 0:
		return reply[3]&rcodeMask != dns.RcodeSuccess
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

// deliver makes a server's reply the client's: its ID, and no longer than it
// can take. Records are passed on as they are.
func (e errand) deliver(reply []byte) []byte {
	binary.BigEndian.PutUint16(reply, e.id)
	if binary.BigEndian.Uint16(reply[4:]) == 0 { // clients want their question back
		return e.failed(int(reply[3] & rcodeMask))
	}
	if len(reply) <= e.limit && reply[2]&(bitTC>>8) == 0 {
		return reply
	}
	var m dns.Msg
	if err := m.Unpack(reply); err != nil {
		return e.truncated(reply)
	}
	cut := m.Truncated // Truncate resets it
	m.Truncate(e.limit)
	m.Truncated = m.Truncated || cut
	short, err := m.Pack()
	if err != nil || len(short) > e.limit {
		return e.truncated(reply)
	}
	return short
}

// truncated says no more than that there is an answer and that it is too long.
func (e errand) truncated(reply []byte) []byte {
	short := e.failed(int(reply[3] & rcodeMask))
	short[2] |= bitTC >> 8
	return short
}
