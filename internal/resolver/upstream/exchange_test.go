package upstream

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func TestQueriesAreHardToGuess(t *testing.T) {
	o := upstreamtest.New()
	var mu sync.Mutex
	names, ids, ports := map[string]bool{}, map[uint16]bool{}, map[string]bool{}
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		names[q.Question[0].Name], ids[q.Id], ports[w.RemoteAddr().String()] = true, true, true
		if opt := q.IsEdns0(); opt == nil || opt.UDPSize() != 1232 || len(opt.Option) > 0 {
			t.Errorf("OPT %v", opt)
		}
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError)) // without SOA: not kept
	})
	a := asking(t, o, "192.0.2.1")
	const n = 30
	a.send(t, new(dns.Msg).SetQuestion("peace.test.", dns.TypeA))
	o.Guesses.Store(1) // from now on, letters too
	for range n {
		m := new(dns.Msg).SetQuestion("a-Name-Of-Many-Letters.test.", dns.TypeA)
		m.SetEdns0(4096, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}}
		r := a.send(t, m)
		if r.Question[0].Name != "a-Name-Of-Many-Letters.test." {
			t.Fatalf("the client's letters come back as %s", r.Question[0].Name)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if !names["peace.test."] {
		t.Errorf("letters are odd before there is a reason: %v", names)
	}
	if len(names) < n-1 || len(ids) < n-2 || len(ports) < n/2 {
		t.Errorf("%d spellings, %d IDs, %d ports in %d queries", len(names), len(ids), len(ports), n)
	}
}

// TestOthersCannotAnswer: what comes from another address or port than was asked is
// nothing, be it right in all else.
func TestOthersCannotAnswer(t *testing.T) {
	o := upstreamtest.New()
	forgers := make([]net.PacketConn, 2)
	for i, at := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		conn, err := net.ListenPacket("udp4", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		forgers[i] = conn
	}
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		forged := new(dns.Msg).SetReply(q)
		forged.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: 1, Ttl: 9}, Txt: []string{"forged"}}}
		raw, _ := forged.Pack()
		for _, conn := range forgers {
			if _, err := conn.WriteTo(raw, w.RemoteAddr()); err != nil {
				t.Error(err)
			}
		}
		upstreamtest.Says("true")(w, q)
	})
	a := asking(t, o, "192.0.2.1")
	for _, name := range []string{"a.test", "b.test", "c.test"} {
		if got := a.brief(t, name); got != "NOERROR true" {
			t.Errorf("got %q", got)
		}
	}
}

func TestServersThatChangeLetters(t *testing.T) {
	for _, c := range []struct {
		what  string
		lower map[string]bool // per protocol
		want  string
		asked []string // by two queries
	}{
		{"over UDP", map[string]bool{"udp": true}, "tcp", []string{"udp", "udp", "tcp", "udp", "tcp"}},
		{"always", map[string]bool{"udp": true, "tcp": true}, "udp", []string{"udp", "udp", "tcp", "udp", "udp"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := upstreamtest.New()
			o.Guesses.Store(1)
			var mu sync.Mutex
			var asked []string
			o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
				mu.Lock()
				asked = append(asked, upstreamtest.Transport(w))
				mu.Unlock()
				if c.lower[upstreamtest.Transport(w)] {
					q.Question[0].Name = strings.ToLower(q.Question[0].Name)
				}
				upstreamtest.Says(upstreamtest.Transport(w))(w, q)
			})
			a := asking(t, o, "192.0.2.1")
			a.client.Patience = time.Minute
			for _, name := range []string{"one.with.many.letters.test", "two.with.many.letters.test"} {
				if got := a.brief(t, name); got != "NOERROR "+c.want {
					t.Errorf("got %q", got)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(asked, c.asked) {
				t.Errorf("asked %v, want %v", asked, c.asked)
			}
		})
	}
}

func TestServersWithoutEDNS(t *testing.T) {
	for _, rcode := range []int{dns.RcodeFormatError, dns.RcodeNotImplemented} {
		o := upstreamtest.New()
		var denied atomic.Int64
		o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
			if q.IsEdns0() != nil {
				denied.Add(1)
				q.Extra = nil
				upstreamtest.Fails(rcode)(w, q)
				return
			}
			upstreamtest.Says("plain")(w, q)
		})
		a := asking(t, o, "192.0.2.1")
		for _, name := range []string{"one.test", "two.test"} {
			if got := a.brief(t, name); got != "NOERROR plain" {
				t.Errorf("got %q", got)
			}
		}
		if n := denied.Load(); n != 1 {
			t.Errorf("%s: EDNS was tried %d times", dns.RcodeToString[rcode], n)
		}
	}
}

func TestLostDatagrams(t *testing.T) {
	for _, c := range []struct {
		what    string
		answers func(protocol string, n int64) bool
		want    string
	}{
		{"the first is lost", func(_ string, n int64) bool { return n > 1 }, "NOERROR udp"},
		{"no UDP gets through", func(protocol string, _ int64) bool { return protocol == "tcp" }, "NOERROR tcp"},
		{"nothing gets through", func(string, int64) bool { return false }, "a name server did not answer in time"},
	} {
		o := upstreamtest.New()
		var n atomic.Int64
		o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
			if c.answers(upstreamtest.Transport(w), n.Add(1)) {
				upstreamtest.Says(upstreamtest.Transport(w))(w, q)
			}
		})
		a := asking(t, o, "192.0.2.1")
		a.time = time.Second
		if got := a.brief(t, "x.test"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

func TestNoUDPAtAll(t *testing.T) {
	o := upstreamtest.New()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: upstreamtest.Says("tcp")}
	go server.ActivateAndServe()
	t.Cleanup(func() { l.Close() })
	o.Route("192.0.2.1", l.Addr())
	a := asking(t, o, "192.0.2.1")
	if got := a.brief(t, "x.test"); got != "NOERROR tcp" {
		t.Errorf("got %q", got)
	}
}

// TestNoFromFurtherDownWaits: the first server may know names that the second
// does not, so the second's denial counts only if the first stays silent.
func TestNoFromFurtherDownWaits(t *testing.T) {
	for _, c := range []struct {
		what string
		late bool // the first answers after the second
		want string
	}{
		{"the first knows", true, "NOERROR inside"},
		{"the first is dead", false, "NXDOMAIN"},
	} {
		o := upstreamtest.New()
		denied := make(chan struct{})
		o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
			if c.late && q.Question[0].Qtype == dns.TypeTXT {
				<-denied
				upstreamtest.Says("inside")(w, q)
			}
		})
		var once sync.Once
		o.Serve(t, "192.0.2.2", func(w dns.ResponseWriter, q *dns.Msg) {
			upstreamtest.Fails(dns.RcodeNameError)(w, q)
			once.Do(func() { close(denied) })
		})
		a := asking(t, o, "192.0.2.1", "192.0.2.2")
		a.client.Patience = 300 * time.Millisecond
		for _, server := range a.servers.Addrs {
			a.servers.health.measured(server, time.Millisecond) // so that the second is asked early
		}
		if got := a.brief(t, "x.test"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

func TestDeadServersAreAskedLast(t *testing.T) {
	o := upstreamtest.New()
	o.Serve(t, "192.0.2.1", upstreamtest.Silent)
	o.Serve(t, "192.0.2.2", upstreamtest.Says("two"))
	a := asking(t, o, "192.0.2.1", "192.0.2.2")
	for _, name := range []string{"a.test", "b.test"} {
		a.brief(t, name)
	}
	before := len(o.Asked())
	for _, name := range []string{"c.test", "d.test", "e.test"} {
		a.brief(t, name)
	}
	for _, dialled := range o.Asked()[before:] {
		if dialled != "host udp 192.0.2.2:53" {
			t.Errorf("asked %s", dialled)
		}
	}
}
