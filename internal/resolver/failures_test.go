package resolver

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func TestFailuresAreRememberedForAMoment(t *testing.T) {
	l := &zoneServer{}
	l.set("x.test. A", "!")
	l.set("y.test. A", "y.test. 60 A 192.0.2.81")
	o, s, c := cachingServer(t, l)
	expect := func(what, want string, asked int) {
		t.Helper()
		if got := upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeA)); got != want || l.count("x.test. A") != asked {
			t.Errorf("%s: got %q, asked %d times; want %q, %d", what, got, l.count("x.test. A"), want, asked)
		}
	}
	expect("new", "SERVFAIL", 1)
	c.advance(failureTime / 2)
	expect("at once", "SERVFAIL", 1)
	ask(t, o, "udp", "y.test", dns.TypeA)
	expect("others are answered", "SERVFAIL", 1)
	c.advance(failureTime)
	expect("later", "SERVFAIL", 2)
	c.advance(failureTime + failureTime/2)
	l.set("x.test. A", "x.test. 60 A 192.0.2.80")
	expect("it is back", "NOERROR 192.0.2.80", 3)
	if got := s.Stats().Total; got.Failures != 4 || got.CacheHits != 2 || got.Forwarded != 4 {
		t.Errorf("counts %+v", got)
	}
}

func TestSilenceIsRememberedUntilItEnds(t *testing.T) {
	o, c := newLoopback(), &clock{}
	var dead atomic.Bool
	var asked atomic.Int64
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		if asked.Add(1); !dead.Load() {
			upstreamtest.Says("one")(w, q)
		}
	})
	s := serverFor(t, o, "192.0.2.1")
	s.forward.answerTime, s.forward.now = 500*time.Millisecond, c.now
	apply(t, s, wanted(resolverOn("net")))
	expect := func(what, qname, want string) {
		t.Helper()
		if got := upstreamtest.Brief(ask(t, o, "udp", qname, dns.TypeTXT)); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	dead.Store(true)
	expect("dead", "x.test", "SERVFAIL")
	c.advance(silenceTime - time.Second)
	before := asked.Load()
	expect("asked again", "x.test", "SERVFAIL")
	if n := asked.Load() - before; n != 0 {
		t.Errorf("a dead server was asked %d times more", n)
	}
	dead.Store(false)
	expect("back, for another name", "y.test", "NOERROR one")
	expect("back", "x.test", "NOERROR one")

	dead.Store(true)
	expect("dead again", "z.test", "SERVFAIL")
	dead.Store(false)
	c.advance(silenceTime + time.Second)
	expect("back before anybody noticed", "z.test", "NOERROR one")
}

// TestOwnTroubleIsNoFailure: what failed for lack of a socket is asked again at once.
func TestOwnTroubleIsNoFailure(t *testing.T) {
	o := newLoopback()
	o.Serve(t, "192.0.2.1", upstreamtest.Says("one"))
	s := serverFor(t, o, "192.0.2.1")
	full := fills(&s.forward.sockets)
	apply(t, s, wanted(resolverOn("net")))
	full.Store(true)
	if got := upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != "SERVFAIL" {
		t.Errorf("without sockets: got %q", got)
	}
	full.Store(false)
	if got := upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != "NOERROR one" {
		t.Errorf("got %q", got)
	}
}

// TestNothingBehindAnAnswerIsKept: the cache counts the bytes of messages, so there
// must not be more of them in memory.
