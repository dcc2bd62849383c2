package resolver

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func TestWhoIsAsked(t *testing.T) {
	own := func(servers ...string) desired.Resolver {
		r := resolverOn("net")
		r.Servers = addrs(servers...)
		return r
	}
	routed := func(r desired.Resolver, domain string, servers ...string) desired.Resolver {
		r.Routes = append(r.Routes, desired.DNSRoute{Domain: domain, Servers: addrs(servers...)})
		return r
	}
	internal := func(r desired.Resolver) desired.Resolver { r.Internal = true; return r }
	for _, c := range []struct {
		what  string
		row   desired.Resolver
		host  []string
		want  string
		asked string
	}{
		{"the host's", own(), []string{"192.0.2.1"}, "NOERROR one", "host udp 192.0.2.1:53"},
		{"its own, from inside", own("192.0.2.2"), []string{"192.0.2.1"}, "NOERROR two", "box udp 192.0.2.2:53"},
		{"SERVFAIL: the next", own("192.0.2.3", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.3:53,box udp 192.0.2.2:53"},
		{"REFUSED: the next", own("192.0.2.4", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.4:53,box udp 192.0.2.2:53"},
		{"unreachable: the next", own("192.0.2.99", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.99:53,box udp 192.0.2.2:53"},
		{"silent: the next", own("192.0.2.5", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.5:53,box udp 192.0.2.2:53"},
		{"NXDOMAIN is an answer", own("192.0.2.6", "192.0.2.2"), nil, "NXDOMAIN", "box udp 192.0.2.6:53"},
		{"all fail", own("192.0.2.3", "192.0.2.4"), nil, "SERVFAIL", "box udp 192.0.2.3:53,box udp 192.0.2.4:53"},
		{"each once", own("192.0.2.3", "192.0.2.3"), nil, "SERVFAIL", "box udp 192.0.2.3:53"},
		{"more than resolv.conf takes", own("192.0.2.3", "192.0.2.4", "192.0.2.3", "192.0.2.8", "192.0.2.2"), nil, "NOERROR two",
			"box udp 192.0.2.3:53,box udp 192.0.2.4:53,box udp 192.0.2.8:53,box udp 192.0.2.2:53"},
		{"the domain's", routed(own("192.0.2.2"), "Test.", "192.0.2.1"), nil, "NOERROR one", "box udp 192.0.2.1:53"},
		{"the domain's: not a part of a label", routed(own("192.0.2.2"), "orld.test", "192.0.2.1"), nil, "NOERROR two", "box udp 192.0.2.2:53"},
		{"the domain itself", routed(own(), "world.test", "192.0.2.1"), nil, "NOERROR one", "box udp 192.0.2.1:53"},
		{"the longest domain's", routed(routed(own(), "test", "192.0.2.1"), "world.test", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.2:53"},
		{"another domain's", routed(own(), "other", "192.0.2.1"), []string{"192.0.2.2"}, "NOERROR two", "host udp 192.0.2.2:53"},
		{"a domain without servers", routed(own("192.0.2.2"), "test"), nil, "NOERROR two", "box udp 192.0.2.2:53"},
		{"internal: the domain's", routed(internal(own()), "test", "192.0.2.2"), []string{"192.0.2.1"}, "NOERROR two", "box udp 192.0.2.2:53"},
		{"garbage: the next", own("192.0.2.8", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.8:53,box udp 192.0.2.2:53"},
		{"never itself", own("127.0.0.11", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.2:53"},
		{"nobody but itself", own("127.0.0.11"), []string{"192.0.2.1"}, "SERVFAIL", ""},
		{"nobody", own(), nil, "SERVFAIL", ""},
		{"internal: not the host's", internal(own()), []string{"192.0.2.1"}, "SERVFAIL", ""},
		{"internal: its own", internal(own("192.0.2.2")), []string{"192.0.2.1"}, "NOERROR two", "box udp 192.0.2.2:53"},
		{"no question in the refusal", own("192.0.2.7", "192.0.2.2"), nil, "NOERROR two", "box udp 192.0.2.7:53,box udp 192.0.2.2:53"},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := newLoopback()
			for address, h := range map[string]dns.HandlerFunc{
				"192.0.2.1": upstreamtest.Says("one"), "192.0.2.2": upstreamtest.Says("two"),
				"192.0.2.3": upstreamtest.Fails(dns.RcodeServerFailure), "192.0.2.4": upstreamtest.Fails(dns.RcodeRefused),
				"192.0.2.5": upstreamtest.Silent, "192.0.2.6": upstreamtest.Fails(dns.RcodeNameError),
				"192.0.2.8": func(w dns.ResponseWriter, q *dns.Msg) {
					raw, _ := new(dns.Msg).SetReply(q).Pack()
					raw[7] = 3 // answers that are not there
					w.Write(raw)
				},
				"192.0.2.7": func(w dns.ResponseWriter, q *dns.Msg) {
					w.WriteMsg(&dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeRefused}})
				},
			} {
				o.Serve(t, address, h)
			}
			server := serverFor(t, o, c.host...)
			server.forward.upstream.Patience = time.Second // a busy machine is not silence
			apply(t, server, wanted(c.row))
			if got := upstreamtest.Brief(ask(t, o, "udp", "world.test", dns.TypeTXT)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := strings.Join(o.Asked(), ","); got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
		})
	}
}

// big answers with more than fits a plain datagram, and over UDP sends it all
// the same.
func big(w dns.ResponseWriter, q *dns.Msg) {
	r := new(dns.Msg).SetReply(q)
	for i := range 90 {
		r.Answer = append(r.Answer, &dns.TXT{
			Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 5},
			Txt: []string{fmt.Sprintf("%040d", i)},
		})
	}
	if opt := q.IsEdns0(); opt != nil {
		r.SetEdns0(4096, opt.Do())
	}
	w.WriteMsg(r)
}

func TestForwardedAnswersFit(t *testing.T) {
	o := newLoopback()
	o.Serve(t, "192.0.2.1", big)
	apply(t, serverFor(t, o, "192.0.2.1"), wanted(resolverOn("net")))
	for _, c := range []struct {
		network   string
		edns      uint16
		size      int
		truncated bool
	}{
		{"udp", 0, 512, true}, {"udp", 1232, 1232, true}, {"udp", 8192, 8192, false}, {"tcp", 0, 65535, false}, {"tcp", 512, 65535, false},
	} {
		m := new(dns.Msg).SetQuestion("world.test.", dns.TypeTXT)
		if c.edns > 0 {
			m.SetEdns0(c.edns, false)
		}
		r := send(t, o, c.network, m)
		if r.Truncated != c.truncated || (len(r.Answer) == 90) == c.truncated {
			t.Errorf("%s %d: %d records, truncated %t", c.network, c.edns, len(r.Answer), r.Truncated)
		}
		if (r.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("%s %d: OPT %v", c.network, c.edns, r.IsEdns0())
		}
		r.Compress = true
		if raw, err := r.Pack(); err != nil || c.truncated && r.Len() > c.size {
			t.Errorf("%s %d: %d bytes, %v", c.network, c.edns, len(raw), err)
		}
	}
	// All of it was fetched once, over TCP after a first try.
	if got := o.Asked(); !slices.Equal(got, []string{"host udp 192.0.2.1:53", "host tcp 192.0.2.1:53"}) {
		t.Errorf("asked %v", got)
	}
}

// TestStrayAnswers sends what an attacker could before the true answer.
func TestStrayAnswers(t *testing.T) {
	o := newLoopback()
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		good := new(dns.Msg).SetReply(q)
		for i := range 7 {
			bad := good.Copy()
			switch i {
			case 0:
				bad.Id++
			case 1:
				bad.Question[0].Name = "other.test."
			case 2:
				bad.Question[0].Qtype = dns.TypeA
			case 3:
				bad.Response = false
			case 4:
				bad.Question = nil
			case 5:
				bad.Opcode = dns.OpcodeNotify
			case 6:
				w.Write([]byte("short"))
				continue
			}
			w.WriteMsg(bad)
		}
		good.Rcode = dns.RcodeNameError
		w.WriteMsg(good)
	})
	apply(t, serverFor(t, o, "192.0.2.1"), wanted(resolverOn("net")))
	if got := upstreamtest.Brief(ask(t, o, "udp", "world.test", dns.TypeTXT)); got != "NXDOMAIN" {
		t.Errorf("got %q", got)
	}
}

func TestTooManyQueriesAreRefused(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o, "192.0.2.1")
	o.Serve(t, "192.0.2.1", upstreamtest.Silent)
	full := fills(&s.forward.total)
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	l := s.listeners["box"]
	full.Store(true)
	for _, network := range []string{"udp", "tcp"} {
		if got := upstreamtest.Brief(ask(t, o, network, "world.test", dns.TypeA)); got != "REFUSED" {
			t.Errorf("%s: got %q", network, got)
		}
	}
	if got := upstreamtest.Brief(ask(t, o, "udp", "web", dns.TypeA)); got != "NOERROR 172.18.0.2" {
		t.Errorf("local names: got %q", got)
	}
	full.Store(false)
	for what, pace := range map[string]*rateLimit{"too fast": &l.rate, "all are too fast": &s.forward.rate} {
		exhaust(s.forward, &l.guaranteed)
		exhaust(s.forward, pace)
		if got := upstreamtest.Brief(ask(t, o, "udp", "world.test", dns.TypeA)); got != "REFUSED" {
			t.Errorf("%s: got %q", what, got)
		}
		l.guaranteed.next.Store(0)
		if !l.admit(time.Now()) {
			t.Errorf("%s: one who has asked little is refused", what)
		}
		l.forwards.Leave()
		pace.next.Store(0)
	}
	if n, all := l.forwards.Inside(), s.forward.total.Inside(); n != 0 || all != 0 {
		t.Errorf("a refused query is counted: %d, %d", n, all)
	}
}

// fills returns what makes a pool have no places: set before it is in use.
func fills(p *limits.Pool) *atomic.Bool {
	var full atomic.Bool
	had := p.Limit
	p.Limit = func() int64 {
		switch {
		case full.Load():
			return 0
		case had != nil:
			return had()
		}
		return p.Max
	}
	return &full
}

// exhaust lets nothing pass for a moment.
func exhaust(f *forwarder, m *rateLimit) { m.next.Store(int64(f.elapsed(f.now()) + maxClockStep/2)) }

func TestConnectionsAreBounded(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	l := s.listeners["box"]
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range maxConns {
		c, err := net.Dial("tcp4", o.tcp["box"])
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	await(t, "all are accepted", func() bool { return l.conns.Inside() == maxConns })
	extra, err := net.Dial("tcp4", o.tcp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	extra.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := extra.Read(make([]byte, 1)); err == nil || n != 0 {
		t.Error("one connection too many is served")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("one connection too many is kept")
	}
	conns[0].Close()
	await(t, "one is let go", func() bool { return l.conns.Inside() < maxConns })
	if got := upstreamtest.Brief(ask(t, o, "tcp", "web", dns.TypeA)); got != "NOERROR 172.18.0.2" {
		t.Errorf("got %q", got)
	}
}
