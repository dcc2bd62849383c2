package upstream

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/resolver/message"
)

// Rules by which a name server loses its place.
const (
	// maxMisses is the share of misses, smoothed, above which a server is
	// suspended: two in a row after a good time.
	maxMisses  = 0.5
	missStep   = 0.3
	suspension = 10 * time.Second // how long it is asked last
	memory     = time.Hour        // how long an oddity is remembered
)

// Hedging: the next server is asked as well when one has been silent for so
// many times the usual.
const (
	hedgeFactor = 4
	minPatience = 200 * time.Millisecond
	rttShare    = 8 // of a new sample in the smoothed time: one in so many
)

// health is what was learned about the name servers of one Servers. Its zero
// value trusts everybody.
type health struct {
	mu     sync.Mutex
	states map[netip.Addr]serverState // at most a few
}

type serverState struct {
	rtt            time.Duration // smoothed time to an answer; 0 if there was none yet
	misses         float64       // smoothed share of queries that another answered instead
	suspendedUntil time.Time     // suspended
	noEDNSUntil    time.Time     // until then: queries go without EDNS
	losesCaseUntil time.Time     // until then: it does not keep the case of letters
	spoofedUntil   time.Time     // until then: somebody guesses answers in its name
}

// maxStates bounds what is remembered of servers that come and go.
const maxStates = 64

// order returns servers with those that are suspended at the end. Otherwise
// their order is the user's: the first may know names that the others do not.
func (h *health) order(servers []netip.Addr) []netip.Addr {
	if len(servers) < 2 {
		return servers
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.states) == 0 {
		return servers
	}
	now := time.Now()
	var first, last []netip.Addr
	for _, s := range servers {
		if now.Before(h.states[s].suspendedUntil) {
			last = append(last, s)
		} else {
			first = append(first, s)
		}
	}
	return slices.Concat(first, last)
}

// result records that winner answered while the lost ones had not.
func (h *health) result(winner netip.Addr, lost []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(winner, func(r *serverState) {
		r.misses -= r.misses * missStep
		r.suspendedUntil = time.Time{}
	})
	for _, s := range lost {
		h.changeLocked(s, func(r *serverState) {
			r.misses += (1 - r.misses) * missStep
			if r.misses > maxMisses {
				r.suspendedUntil = time.Now().Add(suspension)
			}
		})
	}
}

// measured records the time that an answer took.
func (h *health) measured(server netip.Addr, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(server, func(r *serverState) {
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
	if rtt := h.states[server].rtt; rtt > 0 {
		return min(max(hedgeFactor*rtt, minPatience), most)
	}
	return most
}

// queryMode is how a server is asked.
type queryMode struct {
	message.Style
	keepsCase bool // as far as is known, it keeps the case of letters
}

// mode returns how a server wants to be asked. Letters of random case are for
// bad times: they make every query look odd, and some servers spell them anew.
func (h *health) mode(server netip.Addr) queryMode {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, now := h.states[server], time.Now()
	keeps := !now.Before(r.losesCaseUntil)
	return queryMode{Style: message.Style{NoEDNS: now.Before(r.noEDNSUntil), RandomCase: keeps && now.Before(r.spoofedUntil)}, keepsCase: keeps}
}

// suspectSpoofing records that an answer in a server's name was none: somebody guesses.
func (h *health) suspectSpoofing(server netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(server, func(r *serverState) { r.spoofedUntil = time.Now().Add(memory) })
}

// remember records an oddity for memory: the server does not know EDNS, or does
// not keep the case of letters.
func (h *health) remember(server netip.Addr, bare, plain bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.changeLocked(server, func(r *serverState) {
		if bare {
			r.noEDNSUntil = time.Now().Add(memory)
		}
		if plain {
			r.losesCaseUntil = time.Now().Add(memory)
		}
	})
}

func (h *health) changeLocked(server netip.Addr, change func(*serverState)) {
	if h.states == nil || len(h.states) > maxStates {
		h.states = map[netip.Addr]serverState{}
	}
	r := h.states[server]
	change(&r)
	h.states[server] = r
}
