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
	s.tallies.mu.Lock()
	defer s.tallies.mu.Unlock()
	out := Stats{Total: s.tallies.gone, Networks: map[model.NetworkID]Counts{}}
	for id, t := range s.tallies.of {
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

// tally counts the queries of one network.
type tally struct {
	network model.NetworkID
	users   int // listeners that count here; guarded by tallies.mu

	local, cacheHits, forwarded, refused, malformed, failures, stale atomic.Uint64
}

func (t *tally) counts() Counts {
	return Counts{
		Local: t.local.Load(), CacheHits: t.cacheHits.Load(), Forwarded: t.forwarded.Load(),
		Refused: t.refused.Load(), Malformed: t.malformed.Load(),
		Failures: t.failures.Load(), Stale: t.stale.Load(),
	}
}

// tallies are the tally of every network that a sandbox is on.
type tallies struct {
	mu   sync.Mutex
	of   map[model.NetworkID]*tally
	gone Counts // of networks that were there once
}

// join returns the tally for a row's queries; "" stands for no network. Each join
// is followed by one leave.
func (t *tallies) join(row desired.Resolver) *tally {
	var id model.NetworkID
	if len(row.Networks) > 0 {
		id = row.Networks[0]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	one, known := t.of[id]
	if !known {
		one = &tally{network: id}
		t.of[id] = one
	}
	one.users++
	return one
}

// leave forgets a network of which no sandbox is left, but for the sum. What is
// counted for it at this moment may be missing in it.
func (t *tallies) leave(one *tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.users--; one.users == 0 {
		t.gone = t.gone.plus(one.counts())
		delete(t.of, one.network)
	}
}
