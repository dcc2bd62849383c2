package resolver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// flights are the questions that are being asked, by cacheKey.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight
}

// flight is one question being asked for all who wait for its answer.
type flight struct {
	waiting []*waiting // guarded by flights.mu
	cancel  context.CancelFunc
}

// waiting is a client of a flight. It has a place among the forwarded queries,
// and is counted among its listener's answers, until it is settled.
type waiting struct {
	listener *listener
	tally    *tally
	client   client
	errand   errand
	stale    *answer     // what it gets if there is nothing better; may be nil
	enough   *time.Timer // gives it the stale answer

	from  netip.AddrPort // who asked over UDP
	reply chan []byte    // for who asked over TCP; nil in it: there is no reply
}

// board has p settled by the flight of its errand, which starts if there is none.
// Equal questions at the same time are asked once.
func (f *forwarder) board(p *waiting) {
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	if p.listener.closed.Err() != nil { // abandon came before
		p.finish(nil)
		return
	}
	key := p.errand.key
	fl, ok := f.flights.under[key]
	if !ok {
		// Whoever comes first may go first: the context is nobody's in particular.
		ctx, cancel := context.WithTimeout(f.closing, f.answerTime)
		fl = &flight{cancel: cancel}
		f.flights.under[key] = fl
		f.serving.Go(func() { f.fly(ctx, p.errand, fl) })
	}
	fl.waiting = append(fl.waiting, p)
	if p.stale != nil {
		p.enough = time.AfterFunc(f.staleAfter, func() { f.settleStale(fl, p) })
	}
}

// fly asks, and answers those who wait.
func (f *forwarder) fly(ctx context.Context, e errand, fl *flight) {
	defer fl.cancel()
	a := f.ask(ctx, e)
	w := f.writers.Get().(*writer)
	defer f.writers.Put(w)
	for _, p := range f.land(e.key, fl) {
		p.settle(a, w)
	}
}

// land makes room for the next flight of the key and returns who is waiting.
func (f *forwarder) land(key string, fl *flight) []*waiting {
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	if f.flights.under[key] == fl {
		delete(f.flights.under, key)
	}
	left := fl.waiting
	fl.waiting = nil
	return left
}

// settleStale gives p the answer that is old, unless it has one. The flight goes on
// and fills the cache.
func (f *forwarder) settleStale(fl *flight, p *waiting) {
	f.flights.mu.Lock()
	i := slices.Index(fl.waiting, p)
	if i >= 0 {
		fl.waiting = slices.Delete(fl.waiting, i, i+1)
	}
	f.flights.mu.Unlock()
	if i >= 0 {
		p.settle(nil, &writer{})
	}
}

// abandon lets everybody go who waits at a listener that was closed. A flight
// that nobody else waits for ends.
func (f *forwarder) abandon(l *listener) {
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	for key, fl := range f.flights.under {
		before := len(fl.waiting)
		fl.waiting = slices.DeleteFunc(fl.waiting, func(p *waiting) bool {
			if p.listener != l {
				return false
			}
			p.finish(nil)
			return true
		})
		if len(fl.waiting) == 0 && before > 0 {
			delete(f.flights.under, key)
			fl.cancel()
		}
	}
}

// settle replies with an answer or, if a is nil, with what there is instead.
func (p *waiting) settle(a *answer, w *writer) {
	f := p.listener.server.forward
	if a == nil && p.stale != nil {
		a = p.stale
		a.retry.Store(int64(f.elapsed(f.now()) + staleRetry))
		p.tally.stale.Add(1)
	}
	if a == nil {
		p.tally.failures.Add(1)
		p.finish(w.status(&p.client, dns.RcodeServerFailure))
		return
	}
	p.finish(w.stored(&p.client, a, f.now()))
}

// finish gives up p's place and sends the reply, if there is one.
func (p *waiting) finish(reply []byte) {
	if p.enough != nil {
		p.enough.Stop()
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
