package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
)

// maxFaults is how many errors in a row, one each faultPause, make a listener
// count as broken.
const (
	maxFaults  = 10
	faultPause = 100 * time.Millisecond
)

// listener answers one sandbox. Two goroutines of it read, one for each socket;
// local names are answered by them. There is one more for each forwarded
// datagram and each TCP connection, and gates bound those.
type listener struct {
	server    *Server
	namespace string
	udp       *net.UDPConn
	tcp       net.Listener
	log       *slog.Logger

	view     atomic.Pointer[view] // replaced while serving
	health   health
	forwards gate
	conns    gate
	crowded  seldom
	broken   atomic.Bool // reading ended though nobody closed it
	cancel   context.CancelFunc
	serving  *sync.WaitGroup
}

func newListener(s *Server, row desired.Resolver, udp net.PacketConn, tcp net.Listener) (*listener, error) {
	conn, ok := udp.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("namespace %s: %T is not a UDP socket", row.Namespace, udp)
	}
	l := &listener{
		server:    s,
		namespace: row.Namespace,
		udp:       conn,
		tcp:       tcp,
		log:       s.log.With("container", row.Namespace),
		forwards:  gate{max: maxForwards},
		conns:     gate{max: maxConns},
		crowded:   seldom{interval: 2 * time.Second},
	}
	l.view.Store(newView(row))
	return l, nil
}

// start serves until close; every goroutine is counted in serving. Only ctx's
// values are used: it belongs to the call that opened the listener.
func (l *listener) start(ctx context.Context, serving *sync.WaitGroup) {
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.serving = serving
	serving.Go(func() { l.serveUDP(ctx) })
	serving.Go(func() { l.serveTCP(ctx) })
}

// close lets go of both sockets and of all that is under way. It does not wait.
func (l *listener) close() {
	l.cancel()
	// Both are being given up; there is nothing to do about an error.
	_ = l.udp.Close()
	_ = l.tcp.Close()
}

// fault deals with a read or accept that failed and tells whether to go on.
func (l *listener) fault(ctx context.Context, op string, count int, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if count >= maxFaults || errors.Is(err, net.ErrClosed) {
		l.broken.Store(true)
		l.log.Error("resolver: listener is broken", "op", op, "err", err)
		return false
	}
	select {
	case <-time.After(faultPause):
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *listener) serveUDP(ctx context.Context) {
	in := make([]byte, maxQuery+1) // one more, to notice what was cut off
	var q query
	var w writer
	faults := 0
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(in)
		if err != nil {
			faults++
			if !l.fault(ctx, "resolver.read", faults, err) {
				return
			}
			continue
		}
		faults = 0
		if n > maxQuery {
			continue
		}
		if reply := l.datagram(ctx, in[:n], from, &q, &w); reply != nil {
			l.send(reply, from)
		}
	}
}

// send answers a client. If its datagram cannot be sent, the client asks again.
func (l *listener) send(reply []byte, to netip.AddrPort) {
	_, _ = l.udp.WriteToUDPAddrPort(reply, to)
}

// datagram returns the reply to a packet, or nil if there is none or none yet.
func (l *listener) datagram(ctx context.Context, msg []byte, from netip.AddrPort, q *query, w *writer) []byte {
	if v := q.parse(msg); v != good {
		return w.reject(q, v)
	}
	limit := q.udpLimit()
	src, reply, done := l.atOnce(q, w, limit)
	if done {
		return reply
	}
	e := newErrand(q, "udp", limit)
	l.serving.Go(func() {
		defer l.leaveForward()
		reply := l.server.forward.ask(ctx, src, e)
		l.send(reply, from)
	})
	return nil
}

// atOnce returns the reply to a query that need not or cannot be forwarded.
// Otherwise it is not done: src is whom to ask, and a place for it has been
// entered, which the caller leaves.
func (l *listener) atOnce(q *query, w *writer, limit int) (src source, reply []byte, done bool) {
	v := l.view.Load()
	if reply, ok := l.server.table.Load().answer(v, q, w, limit); ok {
		return source{}, reply, true
	}
	src = l.server.forward.sourceOf(l, v)
	if len(src.servers) == 0 {
		return src, w.status(q, dns.RcodeServerFailure), true
	}
	if !l.enterForward() {
		return src, w.status(q, dns.RcodeRefused), true
	}
	return src, nil, false
}

func (l *listener) enterForward() bool {
	if l.forwards.enter() {
		if l.server.forward.total.enter() {
			return true
		}
		l.forwards.leave()
	}
	if l.crowded.now() {
		l.log.Warn(fmt.Sprintf("[resolver] more than %d concurrent queries", maxForwards), "op", "resolver.forward")
	}
	return false
}

func (l *listener) leaveForward() {
	l.server.forward.total.leave()
	l.forwards.leave()
}

func (l *listener) serveTCP(ctx context.Context) {
	faults := 0
	for {
		conn, err := l.tcp.Accept()
		if err != nil {
			faults++
			if !l.fault(ctx, "resolver.accept", faults, err) {
				return
			}
			continue
		}
		faults = 0
		if !l.enterConn() {
			_ = conn.Close()
			continue
		}
		l.serving.Go(func() {
			defer l.leaveConn()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			l.serveConn(ctx, conn)
		})
	}
}

func (l *listener) enterConn() bool {
	if !l.conns.enter() {
		return false
	}
	if !l.server.conns.enter() {
		l.conns.leave()
		return false
	}
	return true
}

func (l *listener) leaveConn() {
	l.server.conns.leave()
	l.conns.leave()
}

// serveConn answers the queries of one connection one after the other, until
// the client ends it, is idle for too long, or sends what is no query.
func (l *listener) serveConn(ctx context.Context, conn net.Conn) {
	var q query
	var w writer
	var msg, out []byte
	for {
		var err error
		if msg, err = readMessage(conn, msg); err != nil {
			return
		}
		reply := l.message(ctx, msg, &q, &w)
		if reply == nil {
			return
		}
		out = binary.BigEndian.AppendUint16(out[:0], uint16(len(reply)))
		out = append(out, reply...)
		if err := conn.SetWriteDeadline(time.Now().Add(messageTime)); err != nil {
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// readMessage reads one message behind its length (RFC 1035 section 4.2.2)
// into buf or, if that is too small, into a new buffer.
func readMessage(conn net.Conn, buf []byte) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
		return nil, err
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	if size > maxQuery {
		return nil, fmt.Errorf("query of %d bytes", size)
	}
	if cap(buf) < size {
		buf = make([]byte, size, maxQuery)
	}
	if err := conn.SetReadDeadline(time.Now().Add(messageTime)); err != nil {
		return nil, err
	}
	_, err := io.ReadFull(conn, buf[:size])
	return buf[:size], err
}

// message returns the reply to a query over TCP; nil closes the connection.
func (l *listener) message(ctx context.Context, msg []byte, q *query, w *writer) []byte {
	if v := q.parse(msg); v != good {
		return w.reject(q, v)
	}
	src, reply, done := l.atOnce(q, w, maxMessage)
	if done {
		return reply
	}
	defer l.leaveForward()
	return l.server.forward.ask(ctx, src, newErrand(q, "tcp", maxMessage))
}
