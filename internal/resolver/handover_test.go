package resolver

import (
	"errors"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// TestHandoverLosesNothing keeps a client asking on one socket while its server
// is replaced again and again. Every tenth query is for a name server that takes
// its time, so that answers are under way at every hand-over.
func TestHandoverLosesNothing(t *testing.T) {
	const handovers, rate = 20, 1000
	o := newLoopback()
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		time.Sleep(30 * time.Millisecond) // a slow server
		upstreamtest.Says("world")(w, q)
	})
	s := serverFor(t, o, "192.0.2.1")
	s.forward.upstream.Patience = time.Second
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))

	conn, err := net.Dial("udp4", o.udp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var done atomic.Bool
	sent := make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(time.Second / rate); !done.Load(); n++ {
			<-tick.C
			m := new(dns.Msg).SetQuestion("web.", dns.TypeA)
			if n%10 == 0 {
				m.SetQuestion(dns.Fqdn(string(rune('a'+n%26))+".test"), dns.TypeTXT)
			}
			m.Id = uint16(n)
			raw, _ := m.Pack()
			if _, err := conn.Write(raw); err != nil {
				t.Error(err)
			}
		}
		sent <- n
	}()
	got := make(chan map[uint16]bool)
	var all atomic.Int64
	go func() {
		ids := map[uint16]bool{}
		buf := make([]byte, message.PlainUDP)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				got <- ids
				return
			}
			var m dns.Msg
			if m.Unpack(buf[:n]) != nil || m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 || ids[m.Id] {
				t.Errorf("got %s", &m)
			}
			ids[m.Id] = true
			all.Add(1)
		}
	}()
	for i := range handovers {
		before := all.Load()
		await(t, "answers flow", func() bool { return all.Load() > before+20 })
		next := serverFor(t, o, "192.0.2.1")
		next.forward.upstream.Patience = time.Second
		next.Adopt(s.Release())
		if report, err := next.Resync(t.Context(), stateOf(t, s.Rows()...)); err != nil || report.Writes != 2 {
			t.Fatalf("hand-over %d: %+v, %v", i, report, err)
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = next
	}
	done.Store(true)
	n := <-sent
	await(t, "every query is answered", func() bool { return all.Load() >= int64(n) })
	conn.SetReadDeadline(time.Now())
	if ids := <-got; len(ids) != n {
		t.Errorf("%d of %d queries are answered", len(ids), n)
	}
}

func TestHandoverOfConnections(t *testing.T) {
	o := newLoopback()
	old := serverFor(t, o)
	apply(t, old, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	early, err := dns.Dial("tcp4", o.tcp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	query := func(c *dns.Conn) string {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("web.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		m, err := c.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		return upstreamtest.Brief(m)
	}
	query(early)
	handed := old.Release()
	late, err := dns.Dial("tcp4", o.tcp["box"]) // nobody accepts at the moment
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if got := query(early); got != "NOERROR 172.18.0.2" {
		t.Errorf("a connection that is open gets %q", got)
	}
	next := serverFor(t, o)
	next.Adopt(handed)
	apply(t, next, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.3")))
	if got := query(late); got != "NOERROR 172.18.0.3" {
		t.Errorf("a connection that waited gets %q", got)
	}
	if err := old.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAdoptedSockets(t *testing.T) {
	o := newLoopback()
	old := serverFor(t, o)
	other := desired.Resolver{Namespace: "other"}
	apply(t, old, wanted(resolverOn("net"), other, name("net", "web", "e1", "172.18.0.2")))
	rows := old.Rows()
	if want := []desired.Row{name("net", "web", "e1", "172.18.0.2"), resolverOn("net"), other}; len(rows) != len(want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
	gone := o.udp["other"]
	handed := old.Release()
	if len(handed) != 2 || !reflect.DeepEqual(old.Rows(), rows) {
		t.Fatalf("released %v; rows %v, before %v", handed, old.Rows(), rows)
	}
	if err := old.Apply(t.Context(), nil); err == nil {
		t.Error("a released server takes rows")
	}
	next := serverFor(t, o)
	next.Adopt(handed)
	o.refuse = errors.New("no new sockets")
	if report, err := next.Resync(t.Context(), stateOf(t, resolverOn("net"))); err != nil || report.Writes != 1 {
		t.Errorf("resync: %+v, %v", report, err)
	}
	if err := old.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp4", gone)
	if err != nil {
		t.Fatalf("sockets nobody asked for are open: %v", err)
	}
	conn.Close()
	// And on to the next, sockets without rows included.
	third := serverFor(t, o)
	third.Adopt(next.Release())
	fourth := serverFor(t, o)
	fourth.Adopt(third.Release())
	apply(t, fourth, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.4")))
	if got := upstreamtest.Brief(ask(t, o, "udp", "web", dns.TypeA)); got != "NOERROR 172.18.0.4" {
		t.Errorf("got %q", got)
	}
}
