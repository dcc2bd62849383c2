package resolver

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// over tells which protocol a name server was asked over.
func over(w dns.ResponseWriter) string { return w.RemoteAddr().Network() }

func TestQueriesAreHardToGuess(t *testing.T) {
	o := newLoopback()
	var mu sync.Mutex
	names, ids, ports := map[string]bool{}, map[uint16]bool{}, map[string]bool{}
	o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		defer mu.Unlock()
		names[q.Question[0].Name], ids[q.Id], ports[w.RemoteAddr().String()] = true, true, true
		if opt := q.IsEdns0(); opt == nil || opt.UDPSize() != ednsUDP || len(opt.Option) > 0 {
			t.Errorf("OPT %v", opt)
		}
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError)) // without SOA: not kept
	})
	s := serverFor(t, o, "192.0.2.1")
	apply(t, s, wanted(resolverOn("net")))
	const n = 30
	send(t, o, "udp", new(dns.Msg).SetQuestion("peace.test.", dns.TypeA))
	o.guesses.Store(1) // from now on, letters too
	for range n {
		m := new(dns.Msg).SetQuestion("a-Name-Of-Many-Letters.test.", dns.TypeA)
		m.SetEdns0(4096, false)
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"}}
		r := send(t, o, "udp", m)
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
	o := newLoopback()
	forgers := make([]net.PacketConn, 2)
	for i, at := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
		conn, err := net.ListenPacket("udp4", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		forgers[i] = conn
	}
	o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		forged := new(dns.Msg).SetReply(q)
		forged.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: 1, Ttl: 9}, Txt: []string{"forged"}}}
		raw, _ := forged.Pack()
		for _, conn := range forgers {
			if _, err := conn.WriteTo(raw, w.RemoteAddr()); err != nil {
				t.Error(err)
			}
		}
		says("true")(w, q)
	})
	apply(t, serverFor(t, o, "192.0.2.1"), wanted(resolverOn("net")))
	for _, name := range []string{"a.test", "b.test", "c.test"} {
		if got := brief(ask(t, o, "udp", name, dns.TypeTXT)); got != "NOERROR true" {
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
			o := newLoopback()
			o.guesses.Store(1)
			var mu sync.Mutex
			var asked []string
			o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
				mu.Lock()
				asked = append(asked, over(w))
				mu.Unlock()
				if c.lower[over(w)] {
					q.Question[0].Name = strings.ToLower(q.Question[0].Name)
				}
				says(over(w))(w, q)
			})
			s := serverFor(t, o, "192.0.2.1")
			s.forward.patience = time.Minute
			apply(t, s, wanted(resolverOn("net")))
			for _, name := range []string{"one.with.many.letters.test", "two.with.many.letters.test"} {
				if got := brief(ask(t, o, "udp", name, dns.TypeTXT)); got != "NOERROR "+c.want {
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
		o := newLoopback()
		var denied atomic.Int64
		o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
			if q.IsEdns0() != nil {
				denied.Add(1)
				q.Extra = nil
				fails(rcode)(w, q)
				return
			}
			says("plain")(w, q)
		})
		apply(t, serverFor(t, o, "192.0.2.1"), wanted(resolverOn("net")))
		for _, name := range []string{"one.test", "two.test"} {
			if got := brief(ask(t, o, "udp", name, dns.TypeTXT)); got != "NOERROR plain" {
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
		{"nothing gets through", func(string, int64) bool { return false }, "SERVFAIL"},
	} {
		o := newLoopback()
		var n atomic.Int64
		o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
			if c.answers(over(w), n.Add(1)) {
				says(over(w))(w, q)
			}
		})
		s := serverFor(t, o, "192.0.2.1")
		s.forward.answerTime = time.Second
		apply(t, s, wanted(resolverOn("net")))
		if got := brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

func TestNoUDPAtAll(t *testing.T) {
	o := newLoopback()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: says("tcp")}
	go server.ActivateAndServe()
	t.Cleanup(func() { l.Close() })
	o.servers["192.0.2.1:53"] = l.Addr().String()
	apply(t, serverFor(t, o, "192.0.2.1"), wanted(resolverOn("net")))
	if got := brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != "NOERROR tcp" {
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
		o := newLoopback()
		denied := make(chan struct{})
		o.upstream(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
			if c.late && q.Question[0].Qtype == dns.TypeTXT {
				<-denied
				says("inside")(w, q)
			}
		})
		var once sync.Once
		o.upstream(t, "192.0.2.2", func(w dns.ResponseWriter, q *dns.Msg) {
			fails(dns.RcodeNameError)(w, q)
			once.Do(func() { close(denied) })
		})
		s := serverFor(t, o, "192.0.2.1", "192.0.2.2")
		s.forward.patience = 300 * time.Millisecond
		apply(t, s, wanted(resolverOn("net")))
		for _, server := range s.forward.hostServers() {
			s.forward.hostSource().health.measured(server, time.Millisecond) // so that the second is asked early
		}
		if got := brief(ask(t, o, "udp", "x.test", dns.TypeTXT)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

func TestDeadServersAreAskedLast(t *testing.T) {
	o := newLoopback()
	o.upstream(t, "192.0.2.1", silence)
	o.upstream(t, "192.0.2.2", says("two"))
	apply(t, serverFor(t, o, "192.0.2.1", "192.0.2.2"), wanted(resolverOn("net")))
	for _, name := range []string{"a.test", "b.test"} {
		ask(t, o, "udp", name, dns.TypeTXT)
	}
	before := len(o.asked())
	for _, name := range []string{"c.test", "d.test", "e.test"} {
		ask(t, o, "udp", name, dns.TypeTXT)
	}
	for _, dialled := range o.asked()[before:] {
		if dialled != "host udp 192.0.2.2:53" {
			t.Errorf("asked %s", dialled)
		}
	}
}

func TestSurvey(t *testing.T) {
	question := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	end := question.Len()
	base, _ := new(dns.Msg).SetReply(question).Pack()
	with := func(answers, extras byte, tail ...byte) []byte {
		m := append(slices.Clone(base), tail...)
		m[7], m[11] = answers, extras
		return m
	}
	a := []byte{0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1}
	opt := []byte{0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		what string
		msg  []byte
		ok   bool
	}{
		{"nothing", base, true},
		{"a record", with(1, 0, append([]byte{0xc0, 12}, a...)...), true},
		{"a name of its own", with(1, 0, append([]byte{1, 'y', 0xc0, 12}, a...)...), true},
		{"a pointer to itself", with(1, 0, append([]byte{0xc0, byte(end)}, a...)...), false},
		{"a pointer ahead", with(1, 0, append([]byte{0xc0, byte(end) + 4}, a...)...), false},
		{"a pointer into its own name", with(1, 0, append([]byte{1, 'y', 0xc0, byte(end)}, a...)...), false},
		{"a pointer into the header", with(1, 0, append([]byte{0xc0, 4}, a...)...), false},
		{"half a pointer", with(1, 0, 0xc0), false},
		{"fewer than it says", with(2, 0, append([]byte{0xc0, 12}, a...)...), false},
		{"data beyond the end", with(1, 0, append([]byte{0xc0, 12}, a[:13]...)...), false},
		{"OPT", with(0, 1, opt...), true},
		{"OPT twice", with(0, 2, append(slices.Clone(opt), opt...)...), false},
		{"OPT among the answers", with(1, 0, opt...), false},
	} {
		o, err := scan(c.msg, end, dns.TypeA)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if c.what == "OPT" && o.rcode != 16 {
			t.Errorf("%s: rcode %d", c.what, o.rcode)
		}
	}
}
