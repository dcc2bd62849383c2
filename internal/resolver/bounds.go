package resolver

import (
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of one sandbox, so that none can use up what belongs to all.
const (
	maxForwards = 1024            // queries out at a name server; Docker's number
	maxSockets  = 2 * maxForwards // to name servers: one that is silent has two
	maxConns    = 128             // TCP connections
	// forwardRate is how many queries a second go to name servers for long; at
	// once it may be maxForwards. Each costs some 50 µs of a processor, which a
	// sandbox that floods would take from all others. leastRate goes whatever the
	// others do, and leastForwards at once.
	forwardRate = 20000
	leastRate   = 100
	// maxTurn is how many full batches of queries are answered before others
	// get the processor.
	maxTurn = 4
)

// processorRate is how many queries a second go to name servers for each processor, for
// all sandboxes together: half of what it can do.
const processorRate = 10000

// Bounds of the server. Sandboxes share these places fairly; see share.
const (
	maxForwardsTotal = 4096
	maxSocketsTotal  = 2 * maxForwardsTotal
	maxConnsTotal    = 4096
	// leastForwards is what a sandbox can have while up to maxForwardsTotal/2/leastForwards
	// others, 128, take all they can get.
	leastForwards = 16
	leastSockets  = 2 * leastForwards
	leastConns    = 16
)

// queueSize is how much of the queries that nobody has read yet the kernel keeps
// for a sandbox, in bytes of kernel memory: some 2 500 queries, which is more
// than arrive while its sockets change hands.
const queueSize = 1 << 20

// Time allowed.
const (
	// answerTime is for a forwarded query as a whole. Clients ask again after
	// 5 s (resolv.conf(5), timeout); an error that comes later helps nobody.
	answerTime = 4500 * time.Millisecond
	// patience is how long one name server may be silent before the next is
	// asked as well.
	patience    = 1500 * time.Millisecond
	idleTime    = 10 * time.Second // between the queries of a TCP connection
	messageTime = 2 * time.Second  // for one message on it, either way
	partingTime = time.Second      // as idleTime, once the sockets are handed over
)

// pool is places that many use. Half of them are for those only who have fewer than
// least.
type pool struct {
	max, least int64
	inside     atomic.Int64
	door       sync.Mutex // held to enter, not to leave
}

// share is what one user takes of a pool: up to max places, and of the half that is
// for all never more than are left there (dynamic thresholds, as in the buffers of
// switches: Choudhury and Hahne, 1998). So whatever others take, one who has little
// gets a place. Nobody is made to wait, and nobody need count users.
type share struct {
	pool   *pool
	max    int64
	inside atomic.Int64
}

func (s *share) enter() bool {
	p := s.pool
	p.door.Lock()
	defer p.door.Unlock()
	mine, all := s.inside.Load(), p.inside.Load()
	if mine >= min(s.max, p.max/2-all) && (mine >= p.least || all >= p.max) {
		return false
	}
	s.inside.Add(1)
	p.inside.Add(1)
	return true
}

func (s *share) leave() {
	s.pool.inside.Add(-1)
	s.inside.Add(-1)
}

// meter lets rate pass a second for long, and burst at once (the generic cell
// rate algorithm). It never makes anybody wait.
type meter struct {
	rate, burst int64
	next        atomic.Int64 // Unix nanoseconds at which the next is due
}

func (m *meter) pass(now time.Time) bool {
	each := int64(time.Second) / m.rate
	for {
		due := m.next.Load()
		at := max(due, now.UnixNano()-m.burst*each) + each
		if at > now.UnixNano() {
			return false
		}
		if m.next.CompareAndSwap(due, at) {
			return true
		}
	}
}

// seldom says yes at most once in an interval, for log lines that a sandbox can
// cause at will.
type seldom struct {
	interval time.Duration
	last     atomic.Int64 // Unix time in nanoseconds
}

func (s *seldom) now() bool {
	now, last := time.Now().UnixNano(), s.last.Load()
	return now-last >= int64(s.interval) && s.last.CompareAndSwap(last, now)
}
