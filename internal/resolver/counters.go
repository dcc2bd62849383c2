package resolver

import (
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Counts are numbers of queries since the Server was made. Every query is one of
// Local, CacheHits, Forwarded, Refused and Malformed.
type Counts struct {
	Local     uint64 // answered from the rows
	CacheHits uint64 // answered from the cache at once
	Forwarded uint64 // answered after asking, or waiting for, name servers
	Refused   uint64 // turned away, because too many of the sandbox's or of all were waiting
	Malformed uint64 // no query, or one that cannot be understood

	Failures uint64 // Forwarded that nobody answered, CacheHits of such failures, and queries with nobody to ask
	Stale    uint64 // Forwarded that got an answer whose time was over
}

// Queries is the number of all.
func (c Counts) Queries() uint64 {
	return c.Local + c.CacheHits + c.Forwarded + c.Refused + c.Malformed
}

// Stats are Counts of a Server. A query counts for the first network of the
// sandbox that it came from.
type Stats struct {
	Total    Counts
	Networks map[model.NetworkID]Counts // those with sandboxes now
}

// Stats returns the counts as of now.
func (s *Server) Stats() Stats {
	s.counters.mu.Lock()
	defer s.counters.mu.Unlock()
	out := Stats{Total: s.counters.gone, Networks: map[model.NetworkID]Counts{}}
	for id, t := range s.counters.byNetwork {
		c := t.counts()
		out.Total = out.Total.plus(c)
		if id != "" {
			out.Networks[id] = c
		}
	}
	return out
}

func (c Counts) plus(d Counts) Counts {
	return Counts{
		Local: c.Local + d.Local, CacheHits: c.CacheHits + d.CacheHits, Forwarded: c.Forwarded + d.Forwarded,
		Refused: c.Refused + d.Refused, Malformed: c.Malformed + d.Malformed,
		Failures: c.Failures + d.Failures, Stale: c.Stale + d.Stale,
	}
}

// counters count the queries of one network.
type counters struct {
	network   model.NetworkID
	listeners int // listeners that count here; guarded by networkCounters.mu

	local, cacheHits, forwarded, refused, malformed, failures, stale atomic.Uint64
}

func (t *counters) counts() Counts {
	return Counts{
		Local: t.local.Load(), CacheHits: t.cacheHits.Load(), Forwarded: t.forwarded.Load(),
		Refused: t.refused.Load(), Malformed: t.malformed.Load(),
		Failures: t.failures.Load(), Stale: t.stale.Load(),
	}
}

// networkCounters are the counters of every network that a sandbox is on.
type networkCounters struct {
	mu        sync.Mutex
	byNetwork map[model.NetworkID]*counters
	gone      Counts // of networks that were there once
}

// acquire returns the counters for a row's queries; "" stands for no network. Each acquire
// is followed by one release.
func (t *networkCounters) acquire(row desired.Resolver) *counters {
	var id model.NetworkID
	if len(row.Networks) > 0 {
		id = row.Networks[0]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	one, known := t.byNetwork[id]
	if !known {
		one = &counters{network: id}
		t.byNetwork[id] = one
	}
	one.listeners++
	return one
}

// release forgets a network of which no sandbox is left, but for the sum. What is
// counted for it at this moment may be missing in it.
func (t *networkCounters) release(one *counters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.listeners--; one.listeners == 0 {
		t.gone = t.gone.plus(one.counts())
		delete(t.byNetwork, one.network)
	}
}
