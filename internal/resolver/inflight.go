package resolver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/message"
)

// inflight is the questions that are being asked, by cacheKey.
type inflight struct {
	mu    sync.Mutex
	byKey map[string]*lookup
}

// lookup is one question being asked for all who wait for its answer.
type lookup struct {
	waiters []*waiter // guarded by inflight.mu
	cancel  context.CancelFunc
}

// waiter is a client of a lookup. It has a place among the forwarded queries,
// and is counted among its listener's answers, until it is answered.
type waiter struct {
	listener   *listener
	counters   *counters
	client     message.Client
	request    request
	stale      *entry      // what it gets if there is nothing better; may be nil
	staleTimer *time.Timer // gives it the stale answer

	from  netip.AddrPort // who asked over UDP
	reply chan []byte    // for who asked over TCP; nil in it: there is no reply
}

// join has c answered by the lookup of its request, which starts if there is none.
// Equal questions at the same time are asked once.
func (f *forwarder) join(c *waiter) {
	f.inflight.mu.Lock()
	defer f.inflight.mu.Unlock()
	if c.listener.closed.Err() != nil { // abandon came before
		c.finish(nil)
		return
	}
	key := c.request.key
	look, ok := f.inflight.byKey[key]
	if !ok {
		// Whoever comes first may go first: the context is nobody's in particular.
		ctx, cancel := context.WithTimeout(f.closing, f.answerTime)
		look = &lookup{cancel: cancel}
		f.inflight.byKey[key] = look
		f.serving.Go(func() { f.lookUp(ctx, c.request, look) })
	}
	look.waiters = append(look.waiters, c)
	if c.stale != nil {
		c.staleTimer = time.AfterFunc(f.staleAfter, func() { f.deliverStale(look, c) })
	}
}

// lookUp asks, and answers those who wait.
func (f *forwarder) lookUp(ctx context.Context, req request, look *lookup) {
	defer look.cancel()
	a := f.ask(ctx, req)
	w := f.writers.Get().(*writer)
	defer f.writers.Put(w)
	for _, c := range f.endLookup(req.key, look) {
		c.deliver(a, w)
	}
}

// endLookup makes room for the next lookup of the key and returns who is waiting.
func (f *forwarder) endLookup(key string, look *lookup) []*waiter {
	f.inflight.mu.Lock()
	defer f.inflight.mu.Unlock()
	if f.inflight.byKey[key] == look {
		delete(f.inflight.byKey, key)
	}
	left := look.waiters
	look.waiters = nil
	return left
}

// deliverStale gives c the answer that is old, unless it has one. The lookup goes on
// and fills the cache.
func (f *forwarder) deliverStale(look *lookup, c *waiter) {
	f.inflight.mu.Lock()
	i := slices.Index(look.waiters, c)
	if i >= 0 {
		look.waiters = slices.Delete(look.waiters, i, i+1)
	}
	f.inflight.mu.Unlock()
	if i >= 0 {
		c.deliver(nil, &writer{})
	}
}

// abandon lets everybody go who waits at a listener that was closed. A lookup
// that nobody else waits for ends.
func (f *forwarder) abandon(l *listener) {
	f.inflight.mu.Lock()
	defer f.inflight.mu.Unlock()
	for key, look := range f.inflight.byKey {
		before := len(look.waiters)
		look.waiters = slices.DeleteFunc(look.waiters, func(c *waiter) bool {
			if c.listener != l {
				return false
			}
			c.finish(nil)
			return true
		})
		if len(look.waiters) == 0 && before > 0 {
			delete(f.inflight.byKey, key)
			look.cancel()
		}
	}
}

// deliver replies with an answer or, if a is nil, with what there is instead.
func (c *waiter) deliver(a *message.Answer, w *writer) {
	f := c.listener.server.forward
	if a == nil && c.stale != nil {
		a = c.stale.Answer
		c.stale.retry.Store(int64(f.elapsed(f.now()) + staleRetry))
		c.counters.stale.Add(1)
	}
	if a == nil {
		c.counters.failures.Add(1)
		c.finish(w.Status(&c.client, dns.RcodeServerFailure))
		return
	}
	c.finish(w.Answer(&c.client, a, f.now()))
}

// finish gives up c's place and sends the reply, if there is one.
func (c *waiter) finish(reply []byte) {
	if c.staleTimer != nil {
		c.staleTimer.Stop()
	}
	l := c.listener
	l.forwards.Leave()
	switch {
	case c.reply != nil:
		c.reply <- slices.Clone(reply) // it has room for one
	case reply != nil:
		l.send(reply, c.from)
	}
	l.answers.Done()
}
