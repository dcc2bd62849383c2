package resolver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
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
// and is counted among its listener's answers, until it is settled.
type waiter struct {
	listener   *listener
	counters   *counters
	client     client
	request    request
	stale      *answer     // what it gets if there is nothing better; may be nil
	staleTimer *time.Timer // gives it the stale answer

	from  netip.AddrPort // who asked over UDP
	reply chan []byte    // for who asked over TCP; nil in it: there is no reply
}

// join has p answered by the lookup of its request, which starts if there is none.
// Equal questions at the same time are asked once.
func (f *forwarder) join(p *waiter) {
	f.inflight.mu.Lock()
	defer f.inflight.mu.Unlock()
	if p.listener.closed.Err() != nil { // abandon came before
		p.finish(nil)
		return
	}
	key := p.request.key
	fl, ok := f.inflight.byKey[key]
	if !ok {
		// Whoever comes first may go first: the context is nobody's in particular.
		ctx, cancel := context.WithTimeout(f.closing, f.answerTime)
		fl = &lookup{cancel: cancel}
		f.inflight.byKey[key] = fl
		f.serving.Go(func() { f.lookUp(ctx, p.request, fl) })
	}
	fl.waiters = append(fl.waiters, p)
	if p.stale != nil {
		p.staleTimer = time.AfterFunc(f.staleAfter, func() { f.deliverStale(fl, p) })
	}
}

// lookUp asks, and answers those who wait.
func (f *forwarder) lookUp(ctx context.Context, req request, fl *lookup) {
	defer fl.cancel()
	a := f.ask(ctx, req)
	w := f.writers.Get().(*writer)
	defer f.writers.Put(w)
	for _, p := range f.endLookup(req.key, fl) {
		p.deliver(a, w)
	}
}

// endLookup makes room for the next lookup of the key and returns who is waiting.
func (f *forwarder) endLookup(key string, fl *lookup) []*waiter {
	f.inflight.mu.Lock()
	defer f.inflight.mu.Unlock()
	if f.inflight.byKey[key] == fl {
		delete(f.inflight.byKey, key)
	}
	left := fl.waiters
	fl.waiters = nil
	return left
}

// deliverStale gives p the answer that is old, unless it has one. The lookup goes on
// and fills the cache.
func (f *forwarder) deliverStale(fl *lookup, p *waiter) {
	f.inflight.mu.Lock()
	i := slices.Index(fl.waiters, p)
	if i >= 0 {
		fl.waiters = slices.Delete(fl.waiters, i, i+1)
	}
	f.inflight.mu.Unlock()
	if i >= 0 {
		p.deliver(nil, &writer{})
	}
}

// abandon lets everybody go who waits at a listener that was closed. A lookup
// that nobody else waits for ends.
func (f *forwarder) abandon(l *listener) {
	f.inflight.mu.Lock()
	defer f.inflight.mu.Unlock()
	for key, fl := range f.inflight.byKey {
		before := len(fl.waiters)
		fl.waiters = slices.DeleteFunc(fl.waiters, func(p *waiter) bool {
			if p.listener != l {
				return false
			}
			p.finish(nil)
			return true
		})
		if len(fl.waiters) == 0 && before > 0 {
			delete(f.inflight.byKey, key)
			fl.cancel()
		}
	}
}

// deliver replies with an answer or, if a is nil, with what there is instead.
func (p *waiter) deliver(a *answer, w *writer) {
	f := p.listener.server.forward
	if a == nil && p.stale != nil {
		a = p.stale
		a.retry.Store(int64(f.elapsed(f.now()) + staleRetry))
		p.counters.stale.Add(1)
	}
	if a == nil {
		p.counters.failures.Add(1)
		p.finish(w.status(&p.client, dns.RcodeServerFailure))
		return
	}
	p.finish(w.stored(&p.client, a, f.now()))
}

// finish gives up p's place and sends the reply, if there is one.
func (p *waiter) finish(reply []byte) {
	if p.staleTimer != nil {
		p.staleTimer.Stop()
	}
	l := p.listener
	l.forwards.Leave()
	switch {
	case p.reply != nil:
		p.reply <- slices.Clone(reply) // it has room for one
	case reply != nil:
		l.send(reply, p.from)
	}
	l.answers.Done()
}
