package resolver

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
)

// forwarder asks name servers what the tables do not know.
type forwarder struct {
	opener      Opener
	hostServers func() []netip.Addr
	host        atomic.Pointer[source]
	serving     *sync.WaitGroup // counts every goroutine
	total       limits.Pool     // queries that wait
	sockets     limits.Pool     // to name servers
	rate        rateLimit       // of queries beyond every sandbox's least
	spare       atomic.Int64    // sockets in pools
	pool        socketPool      // of the host's namespace
	cache       *cache
	failures    *cache
	inflight    inflight
	writers     sync.Pool // of *writer
	buffers     sync.Pool // of *buffer
	answerTime  time.Duration
	patience    time.Duration
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
		opener:      o.Opener,
		hostServers: o.HostServers,
		serving:     serving,
		total:       limits.Pool{Max: maxForwardsTotal, Least: leastForwards},
		sockets:     newPool(maxSocketsTotal, leastSockets, filesOfSockets),
		rate:        rateLimit{rate: processorRate * int64(runtime.GOMAXPROCS(0)), burst: maxForwardsTotal},
		cache:       newCache(cacheSize),
		failures:    newCache(failureSize),
		writers:     sync.Pool{New: func() any { return &writer{} }},
		buffers:     sync.Pool{New: func() any { return &buffer{} }},
		inflight:    inflight{byKey: map[string]*lookup{}},
		answerTime:  answerTime,
		patience:    patience,
		staleAfter:  staleAfter,
		now:         time.Now,
		born:        time.Now(),
	}
	if o.Opener != nil {
		f.pool = socketPool{open: o.Opener.Open, namespace: desired.HostNamespace, spare: &f.spare}
	}
	return f
}

// elapsed is the clock of rate limits. It does not follow the clock of the wall.
func (f *forwarder) elapsed(now time.Time) time.Duration { return now.Sub(f.born) + clockStart }

// close ends every lookup.
func (f *forwarder) close() {
	f.stop()
	f.pool.close()
}

// request is a question on its way to name servers. It carries nothing of the
// client's packet but flags and the question, the latter in lower case.
type request struct {
	source   *source
	key      string // of the cache
	bits     uint16
	question []byte
	qtype    uint16
	do       bool
	sockets  *limits.Share // who it is counted for
	pool     *socketPool   // of the source's namespace
}

func newRequest(src *source, key []byte, q *query) request {
	return request{
		source:   src,
		key:      string(key),
		bits:     q.bits & (bitRD | bitAD | bitCD),
		question: appendFolded(nil, q.question),
		qtype:    q.qtype,
		do:       q.do,
	}
}

// end is where the question ends in a message about it.
func (req request) end() int { return headerSize + len(req.question) }

// cached returns the answer from the cache that needs no asking: one that is
// fresh, or stale while its name servers failed a moment ago. Otherwise stale is
// what may stand in for a new one.
func (f *forwarder) cached(key []byte, now time.Time) (good, stale *answer) {
	a := f.cache.get(key, now)
	if a == nil {
		return nil, nil
	}
	if _, old := a.age(now); old && int64(f.elapsed(now)) >= a.retry.Load() {
		return nil, a
	}
	return a, nil
}

// newFailure marks a question that nobody could answer.
func newFailure(now time.Time, silence bool) *answer {
	life := failureTime
	if silence {
		life = silenceTime
	}
	return &answer{stored: now, life: life}
}

// failed tells whether the name servers have just failed to answer a question, so
// that they are not to be asked again yet. As soon as they answer another one,
// failureTime is enough.
func (f *forwarder) failed(key []byte, src *source, now time.Time) bool {
	a := f.failures.get(key, now)
	if a == nil {
		return false
	}
	age := now.Sub(a.stored)
	return age < failureTime || age < a.life && src.answered.Load() < int64(f.elapsed(a.stored))
}
