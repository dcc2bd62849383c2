package resolver

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Rules by which a name server loses its place.
const (
	// tolerated is the share of misses, smoothed, above which a server is
	// suspended: two in a row after a good time.
	tolerated = 0.5
	missStep  = 0.3
	suspended = 10 * time.Second // how long it is asked last
	oddTime   = time.Hour        // how long an oddity is remembered
)

// Hedging: the next server is asked as well when one has been silent for so
// many times the usual.
const (
	hedgeFactor = 4
	minPatience = 200 * time.Millisecond
	rttShare    = 8 // of a new sample in the smoothed time: one in so many
)

// health is what was learned about the name servers of one source. Its zero
// value trusts everybody.
type health struct {
	mu    sync.Mutex
	ranks map[netip.Addr]rank // the servers of one source: at most a few
}

type rank struct {
	rtt    time.Duration // smoothed time to an answer; 0 if there was none yet
	misses float64       // smoothed share of queries that another answered instead
	until  time.Time     // suspended
	bare   time.Time     // until then: queries go without EDNS
	plain  time.Time     // until then: it does not keep the case of letters
	wary   time.Time     // until then: somebody guesses answers in its name
}

// maxRanks bounds what is remembered of servers that come and go.
const maxRanks = 64

// order returns servers with those that are suspended at the end. Otherwise
// their order is the user's: the first may know names that the others do not.
func (h *health) order(servers []netip.Addr) []netip.Addr {
	if len(servers) < 2 {
		return servers
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ranks) == 0 {
		return servers
	}
	now := time.Now()
	var first, last []netip.Addr
	for _, s := range servers {
		if now.Before(h.ranks[s].until) {
			last = append(last, s)
		} else {
			first = append(first, s)
		}
	}
	return slices.Concat(first, last)
}

// note records that winner answered while the lost ones had not.
func (h *health) note(winner netip.Addr, lost []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(winner, func(r *rank) {
		r.misses -= r.misses * missStep
		r.until = time.Time{}
	})
	for _, s := range lost {
		h.changeLocked(s, func(r *rank) {
			r.misses += (1 - r.misses) * missStep
			if r.misses > tolerated {
				r.until = time.Now().Add(suspended)
			}
		})
	}
}

// took records the time that an answer took.
func (h *health) took(server netip.Addr, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(server, func(r *rank) {
		if r.rtt == 0 {
			r.rtt = max(d, 1)
		} else {
			r.rtt += (d - r.rtt) / rttShare
		}
	})
}

// patience is how long a server may be silent before another is asked as well:
// a few times what is usual for it, and no more than most.
func (h *health) patience(server netip.Addr, most time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if rtt := h.ranks[server].rtt; rtt > 0 {
		return min(max(hedgeFactor*rtt, minPatience), most)
	}
	return most
}

// manner is how a server is asked.
type manner struct {
	bare    bool // without EDNS
	letters bool // of random case
	keeps   bool // as far as is known, it keeps the case of letters
}

// manner returns how a server wants to be asked. Letters of random case are for
// bad times: they make every query look odd, and some servers spell them anew.
func (h *health) manner(server netip.Addr) manner {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, now := h.ranks[server], time.Now()
	keeps := !now.Before(r.plain)
	return manner{bare: now.Before(r.bare), letters: keeps && now.Before(r.wary), keeps: keeps}
}

// alarm records that an answer in a server's name was none: somebody guesses.
func (h *health) alarm(server netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(server, func(r *rank) { r.wary = time.Now().Add(oddTime) })
}

// learn records an oddity for oddTime: the server does not know EDNS, or does
// not keep the case of letters.
func (h *health) learn(server netip.Addr, bare, plain bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(server, func(r *rank) {
		if bare {
			r.bare = time.Now().Add(oddTime)
		}
		if plain {
			r.plain = time.Now().Add(oddTime)
		}
	})
}

func (h *health) changeLocked(server netip.Addr, change func(*rank)) {
	if h.ranks == nil || len(h.ranks) > maxRanks {
		h.ranks = map[netip.Addr]rank{}
	}
	r := h.ranks[server]
	change(&r)
	h.ranks[server] = r
}
