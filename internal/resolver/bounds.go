package resolver

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/limits"
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
	// maxFullBatches is how many full batches of queries are answered before others
	// get the processor.
	maxFullBatches = 4
)

// processorRate is how many queries a second go to name servers for each processor, for
// all sandboxes together: half of what it can do.
const processorRate = 10000

// Bounds of the server. Sandboxes share these places fairly; see limits.Share.
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

// What the server takes of the descriptors that the process may have at most: one
// part in so many.
const (
	filesOfSockets = 5
	filesOfConns   = 32
)

// queueSize is how much of the queries that nobody has read yet the kernel keeps
// for a sandbox, in bytes of kernel memory: some 2 500 queries, which is more
// than arrive while its sockets change hands.
const queueSize = 1 << 20

// Time allowed.
const (
	// answerTime is for a forwarded query as a whole. Clients ask again after
	// 5 s (resolv.conf(5), timeout); an error that comes later helps nobody.
	answerTime       = 4500 * time.Millisecond
	idleTime         = 10 * time.Second // between the queries of a TCP connection
	messageTime      = 2 * time.Second  // for one message on it, either way
	handoverIdleTime = time.Second      // as idleTime, once the sockets are handed over
)

// newPool returns places for descriptors: max, or one part in n of what the process
// may have.
func newPool(max, least, n int64) limits.Pool {
	return limits.Pool{Max: max, Least: least, Limit: limits.OneIn(n)}
}

// rateLimit lets rate pass a second for long, and burst at once (the generic cell
// rate algorithm). It never makes anybody wait.
type rateLimit struct {
	rate, burst int64
	next        atomic.Int64 // when the next is due, in nanoseconds of a clock that starts at clockStart or later
}

const (
	// clockStart is what a clock of rate limits shows when it starts: long enough for every
	// rate limit to let its burst pass.
	clockStart = time.Hour
	// maxClockStep is how far a clock may differ from one goroutine to the next. One that goes
	// back farther was set, and a rate limit that waited for it would refuse everybody for as
	// long.
	maxClockStep = 10 * time.Second
)

func (m *rateLimit) allow(now time.Duration) bool {
	each := int64(time.Second) / m.rate
	for {
		due := m.next.Load()
		from := due
		if due > int64(now+maxClockStep) {
			from = int64(now) - m.burst*each
		}
		at := max(from, int64(now)-m.burst*each) + each
		if at > int64(now) {
			return false
		}
		if m.next.CompareAndSwap(due, at) {
			return true
		}
	}
}

// logThrottle says yes at most once in an interval, for log lines that a sandbox can
// cause at will.
type logThrottle struct {
	interval time.Duration
	mu       sync.Mutex
	last     time.Time
}

func (s *logThrottle) allow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && time.Since(s.last) < s.interval {
		return false
	}
	s.last = time.Now()
	return true
}
