package resolver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// clock is a time that a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// zoneServer answers from records by "name TYPE"; a name that is not there is
// denied with an SOA record. "!" makes it fail.
type zoneServer struct {
	mu      sync.Mutex
	records map[string][]string
	asked   map[string]int
}

func (l *zoneServer) set(key string, records ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records, l.asked = map[string][]string{}, map[string]int{}
	}
	l.records[key] = records
}

func (l *zoneServer) count(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[key]
}

func (l *zoneServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	key := strings.ToLower(q.Question[0].Name) + " " + dns.TypeToString[q.Question[0].Qtype]
	l.mu.Lock()
	l.asked[key]++
	records, ok := l.records[key]
	l.mu.Unlock()
	r := new(dns.Msg).SetReply(q)
	for _, text := range records {
		if text == "!" {
			r.Rcode = dns.RcodeServerFailure
			continue
		}
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			r.Ns = append(r.Ns, rr)
		} else {
			r.Answer = append(r.Answer, rr)
		}
	}
	if !ok {
		r.Rcode = dns.RcodeNameError
	}
	w.WriteMsg(r)
}

// cachingServer is a server whose sandbox "box" asks l through the host.
func cachingServer(t *testing.T, l *zoneServer) (*loopback, *Server, *clock) {
	t.Helper()
	o, c := newLoopback(), &clock{}
	o.Serve(t, "192.0.2.1", l.ServeDNS)
	s := serverFor(t, o, "192.0.2.1")
	s.forward.now = c.now
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	return o, s, c
}

func ttlOf(m *dns.Msg) int {
	if len(m.Answer) == 0 {
		return -1
	}
	return int(m.Answer[0].Header().Ttl)
}

const soa = "test. 50 IN SOA ns.test. admin.test. 1 2 3 4 100"

func TestAnswersAreKeptForTheirTime(t *testing.T) {
	l := &zoneServer{}
	l.set("long.test. A", "long.test. 300 A 192.0.2.80")
	l.set("chain.test. A", "chain.test. 300 CNAME end.test.", "end.test. 20 A 192.0.2.81")
	l.set("zero.test. A", "zero.test. 0 A 192.0.2.82")
	l.set("huge.test. A", "huge.test. 4000000000 A 192.0.2.83")
	l.set("nodata.test. A", soa)
	l.set("dangling.test. A", "dangling.test. 10 CNAME end.test.", soa)
	l.set("nosoa.test. A")
	l.set("loop.test. A", "loop.test. 300 CNAME pool.test.", "pool.test. 300 CNAME loop.test.")
	l.set("brief.test. A", "test. 9999 IN SOA ns.test. admin.test. 1 2 3 4 7")
	o, _, c := cachingServer(t, l)
	for _, k := range []struct {
		name string
		life int // seconds
	}{
		{"long.test.", 300}, {"chain.test.", 20}, {"zero.test.", 0}, {"huge.test.", 0}, {"nodata.test.", 50},
		{"dangling.test.", 10}, {"nosoa.test.", 0}, {"loop.test.", 0}, {"brief.test.", 7}, {"denied.test.", 0},
	} {
		first := ask(t, o, "udp", k.name, dns.TypeA)
		if k.life > 0 {
			c.advance(time.Duration(k.life)*time.Second - 900*time.Millisecond)
			second := ask(t, o, "udp", strings.ToUpper(k.name), dns.TypeA)
			if n := l.count(k.name + " A"); n != 1 {
				t.Errorf("%s: asked %d times within its time", k.name, n)
			}
			if second.Rcode != first.Rcode || len(second.Answer) != len(first.Answer) || second.Question[0].Name != strings.ToUpper(k.name) {
				t.Errorf("%s: first %s\nthen %s", k.name, first, second)
			}
			if got, want := ttlOf(second), ttlOf(first)-k.life+1; ttlOf(first) >= 0 && got != want {
				t.Errorf("%s: TTL %d, want %d", k.name, got, want)
			}
			c.advance(2 * time.Second)
		}
		ask(t, o, "udp", k.name, dns.TypeA)
		if n := l.count(k.name + " A"); n != 2 {
			t.Errorf("%s: asked %d times in all", k.name, n)
		}
	}
}

func TestAnswersAreKeptApart(t *testing.T) {
	one, two := &zoneServer{}, &zoneServer{}
	one.set("x.test. A", "x.test. 300 A 192.0.2.80")
	two.set("x.test. A", "x.test. 300 A 192.0.2.90")
	o, s, _ := cachingServer(t, one)
	o.Serve(t, "192.0.2.2", two.ServeDNS)
	expect := func(what, want string) {
		t.Helper()
		if got := upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeA)); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	expect("the host's", "NOERROR 192.0.2.80")
	own := resolverOn("net")
	own.Servers = addrs("192.0.2.2")
	apply(t, s, wanted(own))
	expect("its own", "NOERROR 192.0.2.90")
	apply(t, s, wanted(resolverOn("net")))
	expect("the host's again", "NOERROR 192.0.2.80")
	internal := resolverOn("net")
	internal.Internal = true
	apply(t, s, wanted(internal))
	expect("cut off", "SERVFAIL")
	other := resolverOn("other")
	other.Servers = own.Servers
	two.set("x.test. A", "x.test. 300 A 192.0.2.91")
	apply(t, s, wanted(other))
	expect("the same address on another network", "NOERROR 192.0.2.91")
	apply(t, s, wanted(own, name("net", "x.test", "e7", "172.18.0.7")))
	expect("a name of the network", "NOERROR 172.18.0.7")

	m := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	apply(t, s, wanted(resolverOn("elsewhere")))
	before := one.count("x.test. A")
	m.CheckingDisabled = true
	send(t, o, "udp", m)
	if one.count("x.test. A") != before+1 {
		t.Error("an answer that was checked is given to somebody who wants none")
	}
}

func TestStaleAnswers(t *testing.T) {
	l := &zoneServer{}
	l.set("x.test. A", "x.test. 60 A 192.0.2.80")
	o, s, c := cachingServer(t, l)
	s.forward.staleAfter = 50 * time.Millisecond
	expect := func(what, want string, ttl, asked int) {
		t.Helper()
		m := ask(t, o, "udp", "x.test", dns.TypeA)
		if got := upstreamtest.Brief(m); got != want || ttlOf(m) != ttl || l.count("x.test. A") != asked {
			t.Errorf("%s: got %q TTL %d asked %d, want %q %d %d", what, got, ttlOf(m), l.count("x.test. A"), want, ttl, asked)
		}
	}
	expect("new", "NOERROR 192.0.2.80", 60, 1)
	l.set("x.test. A", "!")
	c.advance(61 * time.Second)
	expect("name server fails", "NOERROR 192.0.2.80", 30, 2)
	expect("it failed a moment ago", "NOERROR 192.0.2.80", 30, 2)
	c.advance(staleRetry + time.Second)
	expect("it is given another chance", "NOERROR 192.0.2.80", 30, 3)
	c.advance(staleRetry + time.Second)
	l.set("x.test. A", "x.test. 60 A 192.0.2.81")
	expect("it is back", "NOERROR 192.0.2.81", 60, 4)
	l.set("x.test. A", "!")
	c.advance(staleFor + time.Hour)
	expect("too old", "SERVFAIL", -1, 5)
	if got := s.Stats().Total; got.Stale != 2 || got.CacheHits != 1 || got.Forwarded != 5 || got.Failures != 1 {
		t.Errorf("counts %+v", got)
	}
}

func TestSlowServersGiveWayToStaleAnswers(t *testing.T) {
	o, c := newLoopback(), &clock{}
	var slow atomic.Bool
	release := make(chan struct{})
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		if slow.Load() {
			<-release
			upstreamtest.Says("new")(w, q)
			return
		}
		upstreamtest.Says("old")(w, q)
	})
	s := serverFor(t, o, "192.0.2.1")
	s.forward.now, s.forward.staleAfter, s.forward.upstream.Patience = c.now, 50*time.Millisecond, time.Second
	apply(t, s, wanted(resolverOn("net")))
	ask(t, o, "udp", "x.test", dns.TypeTXT)
	slow.Store(true)
	c.advance(time.Minute)
	if got := upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != "NOERROR old" {
		t.Errorf("while it is slow: got %q", got)
	}
	close(release)
	await(t, "the slow answer is in the cache", func() bool {
		return upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeTXT)) == "NOERROR new"
	})
}

func TestEqualQuestionsAreAskedOnce(t *testing.T) {
	o := newLoopback()
	release := make(chan struct{})
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) { <-release; upstreamtest.Says("one")(w, q) })
	s := serverFor(t, o, "192.0.2.1")
	s.forward.upstream.Patience = time.Minute
	apply(t, s, wanted(resolverOn("net"), desired.Resolver{Namespace: "second"}))
	const clients = 20
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			network := []string{"udp", "tcp"}[i%2]
			if got := upstreamtest.Brief(ask(t, o, network, []string{"x.test", "X.tesT"}[i%2], dns.TypeTXT)); got != "NOERROR one" {
				t.Errorf("got %q", got)
			}
		})
	}
	await(t, "all wait", func() bool { return s.forward.total.Inside() == clients })
	close(release)
	all.Wait()
	if got := o.Asked(); !slices.Equal(got, []string{"host udp 192.0.2.1:53"}) {
		t.Errorf("asked %v", got)
	}
}

// TestFlightsOutliveTheirFirst: whoever asked first may go before the answer.
func TestFlightsOutliveTheirFirst(t *testing.T) {
	o := newLoopback()
	release := make(chan struct{})
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) { <-release; upstreamtest.Says("one")(w, q) })
	s := serverFor(t, o, "192.0.2.1")
	s.forward.upstream.Patience = time.Minute
	first := desired.Resolver{Namespace: "first"}
	apply(t, s, wanted(first, resolverOn("net")))
	conn, err := dns.Dial("udp4", o.udp["first"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.WriteMsg(new(dns.Msg).SetQuestion("x.test.", dns.TypeTXT))
	waiting := s.forward.total.Inside
	await(t, "the first waits", func() bool { return waiting() == 1 })
	done := make(chan string)
	go func() { done <- upstreamtest.Brief(ask(t, o, "udp", "x.test", dns.TypeTXT)) }()
	await(t, "both wait", func() bool { return waiting() == 2 })
	apply(t, s, unwanted(first))
	await(t, "the first is gone", func() bool { return waiting() == 1 })
	close(release)
	if got := <-done; got != "NOERROR one" {
		t.Errorf("got %q", got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	const size = 64 << 10
	c := newCache(size)
	now := time.Now()
	put := func(i int) {
		c.put(fmt.Sprint("key", i), &message.Answer{Stored: now, Life: time.Minute})
	}
	for i := range 10000 {
		put(i)
		if c.get([]byte("key0"), now) == nil {
			t.Fatalf("what is in use is gone after %d others", i)
		}
	}
	total, items := 0, 0
	for i := range c.shards {
		total += c.shards[i].bytes
		items += len(c.shards[i].items)
		if n := c.shards[i].used.Len(); n != len(c.shards[i].items) {
			t.Errorf("shard %d: %d in the list, %d in the map", i, n, len(c.shards[i].items))
		}
	}
	if total > size || items < size/1000 {
		t.Errorf("%d bytes in %d items", total, items)
	}
	if c.get([]byte("key1"), now) != nil || c.get([]byte("key9999"), now) == nil {
		t.Error("the wrong ones are kept")
	}
	if c.get([]byte("key9999"), now.Add(staleFor+2*time.Minute)) != nil {
		t.Error("an answer is kept for ever")
	}
}

func TestKeptAddressesTakeTurns(t *testing.T) {
	l := &zoneServer{}
	l.set("x.test. A", "x.test. 60 CNAME y.test.", "y.test. 60 A 192.0.2.81", "y.test. 60 A 192.0.2.82", "y.test. 60 A 192.0.2.83")
	l.set("odd.test. A", "odd.test. 60 A 192.0.2.81", "other.test. 60 A 192.0.2.82")
	o, _, _ := cachingServer(t, l)
	first := map[string]int{}
	for range 120 {
		m := ask(t, o, "udp", "x.test", dns.TypeA)
		m.Answer = m.Answer[1:] // CNAME
		all := strings.Fields(upstreamtest.Brief(m))[1:]
		first[all[0]]++
		if slices.Sort(all); strings.Join(all, " ") != "192.0.2.81 192.0.2.82 192.0.2.83" {
			t.Fatalf("got %q", all)
		}
	}
	if len(first) != 3 {
		t.Errorf("first were %v", first)
	}
	for range 20 {
		if got := upstreamtest.Brief(ask(t, o, "udp", "odd.test", dns.TypeA)); got != "NOERROR 192.0.2.81 192.0.2.82" {
			t.Fatalf("records of different names changed places: %q", got)
		}
	}
}
