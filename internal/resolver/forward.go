package resolver

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstream"
)

// forwarder asks name servers what the tables do not know.
type forwarder struct {
	hostServers func() []netip.Addr
	host        atomic.Pointer[source]
	serving     *sync.WaitGroup // counts every goroutine
	total       limits.Pool     // queries that wait
	sockets     limits.Pool     // to name servers
	rate        rateLimit       // of queries beyond what every sandbox is guaranteed
	upstream    *upstream.Client
	pool        *upstream.SocketPool // of the host's namespace
	cache       *cache
	failures    *cache
	inflight    inflight
	writers     sync.Pool // of *writer
	answerTime  time.Duration
	staleAfter  time.Duration
	now         func() time.Time
	born        time.Time       // when the clock of rate limits showed clockStart
	closing     context.Context // ends every lookup
	stop        context.CancelFunc
}

func newForwarder(o Options, serving *sync.WaitGroup) *forwarder {
	closing, stop := context.WithCancel(context.Background())
	f := &forwarder{
		closing:     closing,
		stop:        stop,
		hostServers: o.HostServers,
		serving:     serving,
		total:       limits.Pool{Max: maxForwardsTotal, Least: leastForwards},
		sockets:     newPool(maxSocketsTotal, leastSockets, filesOfSockets),
		rate:        rateLimit{rate: processorRate * int64(runtime.GOMAXPROCS(0)), burst: maxForwardsTotal},
		cache:       newCache(cacheSize),
		failures:    newCache(failureSize),
		writers:     sync.Pool{New: func() any { return &writer{} }},
		inflight:    inflight{byKey: map[string]*lookup{}},
		answerTime:  answerTime,
		staleAfter:  staleAfter,
		now:         time.Now,
		born:        time.Now(),
	}
	f.upstream = upstream.New(o.Opener, serving)
	f.upstream.Now = func() time.Time { return f.now() }
	f.pool = f.upstream.NewPool(desired.HostNamespace)
	return f
}

// elapsed is the clock of rate limits. It does not follow the clock of the wall.
func (f *forwarder) elapsed(now time.Time) time.Duration { return now.Sub(f.born) + clockStart }

// close ends every lookup.
func (f *forwarder) close() {
	f.stop()
	f.pool.Close()
}

// request is a question on its way to name servers.
type request struct {
	upstream.Request
	source *source
	key    string // of the cache
}

// newRequest takes the query's question to the source by means of a listener.
func (l *listener) newRequest(src *source, key []byte, q *message.Query) request {
	pool := l.server.forward.pool
	if src.Namespace == l.namespace {
		pool = l.pool
	}
	return request{
		Request: upstream.Request{Question: q.Forward(), Servers: &src.Servers, Pool: pool, Sockets: &l.sockets},
		source:  src,
		key:     string(key),
	}
}

// ask asks the request's name servers and keeps what came of it. The result is nil if
// nobody answered.
func (f *forwarder) ask(ctx context.Context, req request) *message.Answer {
	a, err := f.upstream.Ask(ctx, req.Request)
	switch {
	case err == nil:
		req.source.answered.Store(int64(f.elapsed(f.now())))
		f.cache.put(req.key, a)
	case errors.Is(err, upstream.ErrSilent):
		f.failures.put(req.key, &message.Answer{Stored: f.now(), Life: silenceTime})
	case errors.Is(err, upstream.ErrFailed):
		f.failures.put(req.key, &message.Answer{Stored: f.now(), Life: failureTime})
	}
	return a
}

// cached returns the answer from the cache that needs no asking: one that is
// fresh, or stale while its name servers failed a moment ago. Otherwise stale is
// what may stand in for a new one.
func (f *forwarder) cached(key []byte, now time.Time) (good, stale *entry) {
	a := f.cache.get(key, now)
	if a == nil {
		return nil, nil
	}
	if _, old := a.Age(now); old && int64(f.elapsed(now)) >= a.retry.Load() {
		return nil, a
	}
	return a, nil
}

// failed tells whether the name servers have just failed to answer a question, so
// that they are not to be asked again yet. As soon as they answer another one,
// failureTime is enough.
func (f *forwarder) failed(key []byte, src *source, now time.Time) bool {
	a := f.failures.get(key, now)
	if a == nil {
		return false
	}
	age := now.Sub(a.Stored)
	return age < failureTime || age < a.Life && src.answered.Load() < int64(f.elapsed(a.Stored))
}
