package resolver

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/linkspan/linkspan/internal/resolver/message"
)

func (l *listener) serveTCP(ctx context.Context) {
	faults := 0
	for {
		conn, err := l.tcp.Accept()
		if err != nil {
			faults++
			if !l.readFailed(ctx, "resolver.accept", faults, err) {
				return
			}
			continue
		}
		faults = 0
		l.server.outage.Over()
		if !l.conns.Enter() {
			_ = conn.Close()
			continue
		}
		l.answers.Go(func() {
			defer l.conns.Leave()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			defer context.AfterFunc(l.stopped, func() { expire(conn, handoverIdleTime) })()
			l.serveConn(conn)
		})
	}
}

// serveConn answers the queries of one connection one after the other, until
// the client ends it, is idle for too long, or sends what is no query.
func (l *listener) serveConn(conn net.Conn) {
	var q message.Query
	var w writer
	var msg, out []byte
	for {
		var err error
		if msg, err = l.readMessage(conn, msg); err != nil {
			return
		}
		reply := l.message(msg, &q, &w)
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
func (l *listener) readMessage(conn net.Conn, buf []byte) ([]byte, error) {
	expire(conn, idleTime)
	if l.stopped.Err() != nil { // in this order: stop expires the connection too
		expire(conn, handoverIdleTime)
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[:]))
	if size > message.MaxQuery {
		return nil, fmt.Errorf("query of %d bytes", size)
	}
	if cap(buf) < size {
		buf = make([]byte, size, message.MaxQuery)
	}
	expire(conn, messageTime)
	_, err := io.ReadFull(conn, buf[:size])
	return buf[:size], err
}

// expire lets reads from conn fail after d. That this fails means that they do
// already.
func expire(conn net.Conn, d time.Duration) { _ = conn.SetReadDeadline(time.Now().Add(d)) }

// message returns the reply to a query over TCP; nil closes the connection.
func (l *listener) message(msg []byte, q *message.Query, w *writer) []byte {
	if v := q.Parse(msg); v != message.Good {
		return l.reject(q, w, v)
	}
	q.Limit = message.MaxMessage
	reply, wait := l.answerNow(q, w)
	if wait == nil {
		return reply
	}
	wait.reply = make(chan []byte, 1)
	l.server.forward.join(wait)
	return <-wait.reply
}
