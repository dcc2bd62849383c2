package resolver

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// forwarder asks name servers what the tables do not know.
type forwarder struct {
	opener      Opener
	hostServers func() []netip.Addr
	host        atomic.Pointer[source]
	serving     *sync.WaitGroup // counts every goroutine
	total       gate            // queries that wait
	sockets     gate
	cache       *cache
	flights     flights
	answerTime  time.Duration
	patience    time.Duration
	staleAfter  time.Duration
	now         func() time.Time
	closing     context.Context // ends every flight
	close       context.CancelFunc
}

func newForwarder(o Options, serving *sync.WaitGroup) *forwarder {
	closing, stop := context.WithCancel(context.Background())
	return &forwarder{
		closing:     closing,
		close:       stop,
		opener:      o.Opener,
		hostServers: o.HostServers,
		serving:     serving,
		total:       gate{max: maxForwardsTotal},
		sockets:     gate{max: maxSockets},
		cache:       newCache(cacheSize),
		flights:     flights{under: map[string]*flight{}},
		answerTime:  answerTime,
		patience:    patience,
		staleAfter:  staleAfter,
		now:         time.Now,
	}
}

// errand is a question on its way to name servers. It carries nothing of the
// client's packet but flags and the question, the latter in lower case.
type errand struct {
	source   *source
	key      string // of the cache
	bits     uint16
	question []byte
	qtype    uint16
	do       bool
}

func newErrand(src *source, key []byte, q *query) errand {
	return errand{
		source:   src,
		key:      string(key),
		bits:     q.bits & (bitRD | bitAD | bitCD),
		question: appendFolded(nil, q.question),
		qtype:    q.qtype,
		do:       q.do,
	}
}

// end is where the question ends in a message about it.
func (e errand) end() int { return headerSize + len(e.question) }

// kept returns the answer from the cache that needs no asking: one that is
// fresh, or stale while its name servers failed a moment ago. Otherwise stale is
// what may stand in for a new one.
func (f *forwarder) kept(key []byte, now time.Time) (good, stale *answer) {
	a := f.cache.get(key, now)
	if a == nil {
		return nil, nil
	}
	if _, old := a.age(now); old && now.UnixNano() >= a.retry.Load() {
		return nil, a
	}
	return a, nil
}

// fetch returns an answer to e, or nil if there is none. Equal questions at the
// same time are asked once. A stale answer is given after staleAfter, or if
// nobody has a better one.
func (f *forwarder) fetch(ctx context.Context, e errand, stale *answer) *answer {
	fl := f.join(e)
	var enough <-chan time.Time
	if stale != nil {
		timer := time.NewTimer(f.staleAfter)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-fl.done:
		if fl.answer == nil && stale != nil {
			f.postpone(stale)
			return stale
		}
		return fl.answer
	case <-enough:
		// The flight goes on and fills the cache: this place in it is not left.
		f.postpone(stale)
		return stale
	case <-ctx.Done():
		f.leave(e.key, fl)
		return nil
	}
}

func (f *forwarder) postpone(stale *answer) {
	stale.retry.Store(f.now().Add(staleRetry).UnixNano())
}

// flights are the questions that are being asked, by cacheKey.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight
}

// flight is one question being asked for all who wait for its answer.
type flight struct {
	done    chan struct{}
	answer  *answer // once done
	waiting int     // guarded by flights.mu
	cancel  context.CancelFunc
}

// join returns the flight of e, which starts if there is none.
func (f *forwarder) join(e errand) *flight {
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	if fl, ok := f.flights.under[e.key]; ok {
		fl.waiting++
		return fl
	}
	// Whoever comes first may go first: the context is nobody's in particular.
	ctx, cancel := context.WithTimeout(f.closing, f.answerTime)
	fl := &flight{done: make(chan struct{}), waiting: 1, cancel: cancel}
	f.flights.under[e.key] = fl
	f.serving.Go(func() {
		defer cancel()
		fl.answer = f.ask(ctx, e)
		if fl.answer != nil {
			f.cache.put(e.key, fl.answer)
		}
		f.land(e.key, fl)
		close(fl.done)
	})
	return fl
}

// leave gives up waiting; the last one to do so ends the flight.
func (f *forwarder) leave(key string, fl *flight) {
	f.flights.mu.Lock()
	fl.waiting--
	last := fl.waiting == 0
	f.flights.mu.Unlock()
	if last {
		f.land(key, fl)
		fl.cancel()
	}
}

// land makes room for the next flight of the key.
func (f *forwarder) land(key string, fl *flight) {
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	if f.flights.under[key] == fl {
		delete(f.flights.under, key)
	}
}

// ask runs an errand: name servers are asked in order, the next one as soon as
// one fails, or in addition to one that has been silent for too long. The first
// good answer counts. It returns nil if there is none.
func (f *forwarder) ask(ctx context.Context, e errand) *answer {
	r := newRace(f, e)
	next := time.NewTimer(0)
	defer next.Stop()
	hold := time.NewTimer(f.patience)
	defer hold.Stop()
	for !r.over() {
		select {
		case <-next.C:
			if server, ok := r.start(ctx); ok {
				next.Reset(e.source.health.patience(server, f.patience))
			}
		case a := <-r.attempts:
			if r.settle(a); a.err != nil {
				next.Reset(0)
			}
		case <-hold.C:
			r.impatient = true
		case <-ctx.Done():
			return r.best.answer
		}
	}
	return r.result()
}

// step is one way to ask one server.
type step struct {
	server  netip.Addr
	network string // "udp" or "tcp"
	place   int    // of the server in the order
}

// attempt is what came of a step.
type attempt struct {
	step
	answer   *answer
	negative bool
	err      error
}

// race is one errand with all that is asked for it.
type race struct {
	forwarder *forwarder
	errand    errand
	todo      []step
	open      []step // asked and silent
	refused   []netip.Addr
	failed    []netip.Addr
	attempts  chan attempt
	best      attempt
	impatient bool // a negative answer need not wait for better servers
}

// newRace plans to ask every server over UDP, the silent ones again, since
// datagrams get lost, and at last over TCP.
func newRace(f *forwarder, e errand) *race {
	order := e.source.health.order(e.source.servers)
	r := &race{forwarder: f, errand: e}
	for _, network := range []string{"udp", "udp", "tcp"} {
		for place, server := range order {
			r.todo = append(r.todo, step{server, network, place})
		}
	}
	r.attempts = make(chan attempt, len(r.todo))
	return r
}

// start takes the next step that makes sense, if there is one.
func (r *race) start(ctx context.Context) (netip.Addr, bool) {
	for len(r.todo) > 0 {
		s := r.todo[0]
		r.todo = r.todo[1:]
		if slices.Contains(r.refused, s.server) {
			continue
		}
		r.open = append(r.open, s)
		f, e := r.forwarder, r.errand
		f.serving.Go(func() {
			a := attempt{step: s}
			a.answer, a.negative, a.err = f.exchange(ctx, s, e)
			r.attempts <- a
		})
		return s.server, true
	}
	return netip.Addr{}, false
}

// settle takes note of an attempt that has ended.
func (r *race) settle(a attempt) {
	if i := slices.Index(r.open, a.step); i >= 0 { // the same step may be open twice
		r.open = slices.Delete(r.open, i, i+1)
	}
	switch {
	case a.err == nil:
		if r.best.answer == nil || r.best.negative {
			r.best = a
		}
	case isRefusal(a.err):
		r.refused = append(r.refused, a.server)
		fallthrough
	default:
		r.failed = append(r.failed, a.server)
	}
}

// over tells whether the race is decided. A server further down may not know a
// name that one further up does, so its "no" waits for them for a while.
func (r *race) over() bool {
	if r.best.answer == nil {
		return len(r.todo) == 0 && len(r.open) == 0
	}
	return !r.best.negative || r.impatient || !slices.ContainsFunc(r.open, func(s step) bool { return s.place < r.best.place })
}

// result is the answer that counts, after those who did not give it have been
// noted. If nobody gave one, that says nothing about the servers.
func (r *race) result() *answer {
	if r.best.answer == nil {
		return nil
	}
	lost := r.failed
	for _, s := range r.open {
		if s.place < r.best.place && !slices.Contains(lost, s.server) {
			lost = append(lost, s.server)
		}
	}
	lost = slices.DeleteFunc(lost, func(a netip.Addr) bool { return a == r.best.server })
	r.errand.source.health.note(r.best.server, lost)
	return r.best.answer
}
