package resolver

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestFailuresAreRememberedForAMoment(t *testing.T) {
	l := &zoneServer{}
	l.set("x.test. A", "!")
	l.set("y.test. A", "y.test. 60 A 192.0.2.81")
	o, s, c := cachingServer(t, l)
	expect := func(what, want string, asked int) {
		t.Helper()
		if got := brief(ask(t, o, "udp", "x.test", dns.TypeA)); got != want || l.count("x.test. A") != asked {
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
	o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		if asked.Add(1); !dead.Load() {
			says("one")(w, q)
		}
	})
	s := serverFor(t, o, "192.0.2.1")
	s.forward.answerTime, s.forward.now = 500*time.Millisecond, c.now
	apply(t, s, wanted(resolverOn("net")))
	expect := func(what, qname, want string) {
		t.Helper()
		if got := brief(ask(t, o, "udp", qname, dns.TypeTXT)); got != want {
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
	o.upstream(t, "192.0.2.1", says("one"))
	s := serverFor(t, o, "192.0.2.1")
	full := fills(&s.forward.sockets)
	apply(t, s, wanted(resolverOn("net")))
	full.Store(true)
	if got := brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != "SERVFAIL" {
		t.Errorf("without sockets: got %q", got)
	}
	full.Store(false)
	if got := brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != "NOERROR one" {
		t.Errorf("got %q", got)
	}
}

// TestNothingBehindAnAnswerIsKept: the cache counts the bytes of messages, so there
// must not be more of them in memory.
func TestNothingBehindAnAnswerIsKept(t *testing.T) {
	question := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	m := new(dns.Msg).SetReply(question)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "x.test.", Rrtype: dns.TypeA, Class: 1, Ttl: 9}, A: []byte{192, 0, 2, 1}}}
	raw, _ := m.Pack()
	long := append(bytes.Clone(raw), make([]byte, 60000)...)
	o, err := scan(long, question.Len(), dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAnswer(long, question.Len(), o, time.Now())
	if err != nil || !bytes.Equal(a.msg[2:], raw[2:]) || cap(a.msg) > len(raw)+maxSlack {
		t.Errorf("%d bytes in memory for %d, %v", cap(a.msg), len(raw), err)
	}
}

// TestLongAnswersAreCutBetweenRecords: whatever fits is there, and nothing else.
func TestLongAnswersAreCutBetweenRecords(t *testing.T) {
	question := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	m := new(dns.Msg).SetReply(question)
	for i := range 100 {
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "x.test.", Rrtype: dns.TypeA, Class: 1, Ttl: 9}, A: []byte{192, 0, 2, byte(i)}})
	}
	m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeNS, Class: 1, Ttl: 9}, Ns: "ns.x.test."}}
	m.Compress = true
	raw, _ := m.Pack()
	o, err := scan(raw, question.Len(), dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAnswer(raw, question.Len(), o, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Clone(raw[headerSize:question.Len()])
	for _, k := range []struct {
		limit, answers, authorities int
		edns                        bool
	}{
		{plainUDP, (plainUDP - question.Len()) / 16, 0, false}, {plainUDP, (plainUDP - question.Len() - optSize) / 16, 0, true},
		{len(raw) - 1, 100, 0, false}, {len(raw), 100, 1, false}, {len(raw), 100, 0, true}, {maxMessage, 100, 1, true},
	} {
		var w writer
		c := client{question: text, limit: k.limit, edns: k.edns}
		got := w.stored(&c, a, time.Now())
		var m dns.Msg
		if err := m.Unpack(got); err != nil || len(got) > k.limit {
			t.Errorf("%+v: %d bytes, %v", k, len(got), err)
		}
		seen := map[string]bool{}
		for _, rr := range m.Answer {
			seen[fmt.Sprint(rr)] = true
		}
		whole := k.answers+k.authorities == 101
		if len(seen) != k.answers || len(m.Ns) != k.authorities || m.Truncated == whole || (m.IsEdns0() != nil) != k.edns {
			t.Errorf("%+v: %d answers, %d different, %d authorities, truncated %t", k, len(m.Answer), len(seen), len(m.Ns), m.Truncated)
		}
	}
}
