package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstream"
)

// maxFaults is how many errors in a row, one each faultPause, make a listener
// count as broken. Those that limits.Passing names are not its own.
const (
	maxFaults  = 10
	faultPause = 100 * time.Millisecond
)

// listener answers one sandbox. Two goroutines of it read, one for each socket;
// what is known is answered by them. There is one more for each TCP connection;
// the rest waits in lookups. Shares bound all of it.
type listener struct {
	server    *Server
	namespace string
	udp       *net.UDPConn
	tcp       *net.TCPListener
	log       *slog.Logger

	view       atomic.Pointer[view] // replaced while serving
	forwards   limits.Share
	sockets    limits.Share // of the lookups that started here
	rate       rateLimit    // of forwards
	guaranteed rateLimit    // of those that go whatever others do
	conns      limits.Share
	pool       *upstream.SocketPool
	refusals   logThrottle
	broken     atomic.Bool // reading ended though nobody closed it
	repair     repair      // of the watch
	cancel     context.CancelFunc

	readers sync.WaitGroup // of the two sockets
	answers sync.WaitGroup // queries under way; only readers add
	closed  context.Context
	stopped context.Context
	stop    context.CancelFunc
}

func newListener(s *Server, row desired.Resolver, udp net.PacketConn, tcp net.Listener) (*listener, error) {
	datagrams, ok := udp.(*net.UDPConn)
	if !ok {
		return nil, fmt.Errorf("namespace %s: %T is not a UDP socket", row.Namespace, udp)
	}
	connections, ok := tcp.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("namespace %s: %T is not a TCP socket", row.Namespace, tcp)
	}
	l := &listener{
		server:     s,
		namespace:  row.Namespace,
		udp:        datagrams,
		tcp:        connections,
		log:        s.log.With("container", row.Namespace),
		forwards:   limits.Share{Pool: &s.forward.total, Max: maxForwards},
		sockets:    limits.Share{Pool: &s.forward.sockets, Max: maxSockets},
		rate:       rateLimit{rate: forwardRate, burst: maxForwards},
		guaranteed: rateLimit{rate: leastRate, burst: leastForwards},
		conns:      limits.Share{Pool: &s.conns, Max: maxConns},
		pool:       s.forward.upstream.NewPool(row.Namespace),
		refusals:   logThrottle{interval: 2 * time.Second},
	}
	l.view.Store(newView(row, s.counters.acquire(row), nil))
	return l, nil
}

// start serves until close or release; serving counts it until its last answer
// is out. Only ctx's values are used: it belongs to the call that opened the
// listener.
func (l *listener) start(ctx context.Context, serving *sync.WaitGroup) {
	enlarge(l.udp)
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.closed = ctx
	l.stopped, l.stop = context.WithCancel(ctx)
	l.readers.Go(func() { l.serveUDP(ctx) })
	l.readers.Go(func() { l.serveTCP(ctx) })
	serving.Go(func() {
		l.readers.Wait()
		l.answers.Wait()
		l.close()
	})
}

// close lets go of every socket in the namespace and of all that is under way. It
// does not wait for those.
func (l *listener) close() {
	l.cancel()
	l.server.forward.abandon(l)
	l.pool.Close()
	// Both are being given up; there is nothing to do about an error.
	_ = l.udp.Close()
	_ = l.tcp.Close()
}

// readFailed deals with a read or accept that failed and tells whether to go on. A lack
// of descriptors is waited out, however long it lasts.
func (l *listener) readFailed(ctx context.Context, op string, count int, err error) bool {
	if ctx.Err() != nil || l.stopped.Err() != nil {
		return false
	}
	if limits.Passing(err) {
		return l.server.outage.Wait(l.stopped.Done(), err)
	}
	if count >= maxFaults || errors.Is(err, net.ErrClosed) {
		l.broken.Store(true)
		l.log.Error("resolver: listener is broken, another will be opened", "op", op, "err", err)
		l.server.reportBroken(l.namespace)
		return false
	}
	select {
	case <-time.After(faultPause):
		return true
	case <-l.stopped.Done():
		return false
	}
}

func (l *listener) serveUDP(ctx context.Context) {
	p, err := newBatchConn(l.udp, &l.server.batches)
	if err != nil {
		l.readFailed(ctx, "resolver.read", maxFaults, err)
		return
	}
	defer p.release()
	faults, fullBatches := 0, 0
	for {
		b, err := p.receive()
		if err != nil {
			faults++
			if !l.readFailed(ctx, "resolver.read", faults, err) {
				return
			}
			continue
		}
		faults = 0
		for i := range b.count {
			if msg := b.message(i); msg != nil {
				if reply := l.datagram(msg, b.from(i), &b.query, &b.writers[b.replies]); reply != nil {
					b.reply(i, reply, !p.noSegments)
				}
			}
		}
		full := b.count == batchSize
		p.send()
		p.release()
		if fullBatches++; !full {
			fullBatches = 0
		} else if fullBatches >= maxFullBatches {
			fullBatches = 0
			runtime.Gosched()
		}
	}
}

// send answers a client. If its datagram cannot be sent, the client asks again.
func (l *listener) send(reply []byte, to netip.AddrPort) {
	_, _ = l.udp.WriteToUDPAddrPort(reply, to)
}

// datagram returns the reply to a packet, or nil if there is none or none yet.
func (l *listener) datagram(msg []byte, from netip.AddrPort, q *message.Query, w *writer) []byte {
	if v := q.Parse(msg); v != message.Good {
		return l.reject(q, w, v)
	}
	q.Limit = q.UDPLimit()
	reply, wait := l.answerNow(q, w)
	if wait == nil {
		return reply
	}
	wait.from = from
	l.server.forward.join(wait)
	return nil
}

func (l *listener) reject(q *message.Query, w *writer, v message.Verdict) []byte {
	l.view.Load().counters.malformed.Add(1)
	return w.Reject(q, v)
}

// answerNow returns the reply to a query that need not or cannot be forwarded.
// Otherwise it returns who is to join a lookup.
func (l *listener) answerNow(q *message.Query, w *writer) ([]byte, *waiter) {
	v, f := l.view.Load(), l.server.forward
	if reply, ok := l.server.table.Load().answer(v, q, w); ok {
		v.counters.local.Add(1)
		return reply, nil
	}
	src := f.sourceOf(v, q.Name())
	if src == nil {
		v.counters.forwarded.Add(1)
		v.counters.failures.Add(1)
		return w.Status(&q.Client, dns.RcodeServerFailure), nil
	}
	w.key = cacheKey(w.key, src, q)
	now := f.now()
	good, stale := f.cached(w.key, now)
	if good != nil {
		v.counters.cacheHits.Add(1)
		return w.Answer(&q.Client, good.Answer, now), nil
	}
	if stale == nil && f.failed(w.key, src, now) {
		v.counters.cacheHits.Add(1)
		v.counters.failures.Add(1)
		return w.Status(&q.Client, dns.RcodeServerFailure), nil
	}
	if !l.admit(now) {
		v.counters.refused.Add(1)
		return w.Status(&q.Client, dns.RcodeRefused), nil
	}
	v.counters.forwarded.Add(1)
	l.answers.Add(1)
	return nil, &waiter{listener: l, counters: v.counters, client: q.Client.Keep(), request: l.newRequest(src, w.key, q), stale: stale}
}

// admit takes a place among the queries that wait for name servers.
func (l *listener) admit(now time.Time) bool {
	if l.forwards.Enter() {
		at := l.server.forward.elapsed(now)
		if l.guaranteed.allow(at) || l.rate.allow(at) && l.server.forward.rate.allow(at) {
			return true
		}
		l.forwards.Leave()
	}
	if l.refusals.allow() {
		l.log.Warn(fmt.Sprintf("[resolver] more than %d concurrent queries, or %d a second, or than the others leave room for", maxForwards, forwardRate), "op", "resolver.forward")
	}
	return false
}
