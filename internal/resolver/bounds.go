package resolver

import (
	"sync/atomic"
	"time"
)

// Bounds of one sandbox, so that none can use up what belongs to all.
const (
	maxForwards = 1024 // queries out at a name server; Docker's number
	maxConns    = 128  // TCP connections
	// forwardRate is how many queries a second go to name servers for long; at
	// once it may be maxForwards. Each costs some 0.1 ms of a processor, which a
	// sandbox that floods would take from all others.
	forwardRate = 20000
	// maxTurn is how many full batches of queries are answered before others
	// get the processor.
	maxTurn = 4
)

// Bounds of the server.
const (
	maxForwardsTotal = 4096
	maxConnsTotal    = 4096
	maxSockets       = 8192 // to name servers
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

// gate lets at most max in at a time and never makes anybody wait.
type gate struct {
	max    int64
	inside atomic.Int64
}

func (g *gate) enter() bool {
	if g.inside.Add(1) <= g.max {
		return true
	}
	g.inside.Add(-1)
	return false
}

func (g *gate) leave() { g.inside.Add(-1) }

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
