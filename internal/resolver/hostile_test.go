package resolver

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestMalformedPackets(t *testing.T) {
	plain, _ := new(dns.Msg).SetQuestion("web.", dns.TypeA).Pack()
	change := func(at int, to ...byte) []byte {
		out := bytes.Clone(plain)
		copy(out[at:], to)
		return out
	}
	edns := func(version uint8, times int) []byte {
		m := new(dns.Msg).SetQuestion("web.", dns.TypeA)
		for range times {
			opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
			opt.SetVersion(version)
			m.Extra = append(m.Extra, opt)
		}
		out, _ := m.Pack()
		return out
	}
	opt := func(bytes ...byte) []byte { // behind the question
		out := append(change(10, 0, 1), bytes...)
		return out
	}
	for _, c := range []struct {
		what string
		msg  []byte
		want int // -1: no answer
	}{
		{"empty", nil, -1},
		{"short", plain[:11], -1},
		{"a response", change(2, 0x81), -1},
		{"no question", change(4, 0, 0), dns.RcodeFormatError},
		{"two questions", change(4, 0, 2), dns.RcodeFormatError},
		{"an answer", change(6, 0, 1), dns.RcodeFormatError},
		{"many extras", change(10, 0xff, 0xff), dns.RcodeFormatError},
		{"extras that are not there", change(10, 0, 1), dns.RcodeFormatError},
		{"header alone", plain[:12], dns.RcodeFormatError},
		{"cut in the name", plain[:14], dns.RcodeFormatError},
		{"cut in the type", plain[:18], dns.RcodeFormatError},
		{"pointer to itself", change(12, 0xc0, 12), dns.RcodeFormatError},
		{"odd label type", change(12, 0x41), dns.RcodeFormatError},
		{"label beyond the end", change(12, 63), dns.RcodeFormatError},
		{"UPDATE", change(2, 5<<3), dns.RcodeNotImplemented},
		{"two OPTs", edns(0, 2), dns.RcodeFormatError},
		{"EDNS version 1", edns(1, 1), dns.RcodeBadVers},
		{"OPT with a name", opt(1, 'a', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0), dns.RcodeFormatError},
		{"OPT with a pointer for a name", opt(0xc0, 12, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0), dns.RcodeFormatError},
		{"OPT with more options than there are bytes", opt(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 10), dns.RcodeFormatError},
		{"OPT with an option that is none", opt(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff), dns.RcodeSuccess},
		{"a size of 0", opt(0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0), dns.RcodeSuccess},
		{"a size of 65 535 and all flags", opt(0, 0, 41, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0, 0), dns.RcodeSuccess},
		{"name too long", append(append(change(5, 1)[:12], bytes.Repeat([]byte{1, 'a'}, 128)...), 0, 0, 1, 0, 1), dns.RcodeFormatError},
		{"longest name", append(append(change(5, 1)[:12], bytes.Repeat([]byte{1, 'a'}, 127)...), 0, 0, 1, 0, 1), dns.RcodeServerFailure},
		{"good", plain, dns.RcodeSuccess},
	} {
		l := bareListener()
		var q query
		var w writer
		reply := l.datagram(c.msg, netip.AddrPort{}, &q, &w)
		if (reply == nil) != (c.want < 0) {
			t.Errorf("%s: reply %x", c.what, reply)
		}
		if reply == nil {
			continue
		}
		var m dns.Msg
		if err := m.Unpack(reply); err != nil || m.Rcode != c.want || !m.Response || m.Id != binary.BigEndian.Uint16(c.msg) {
			t.Errorf("%s: %v %s", c.what, err, &m)
		}
	}
}

// loose is a listener without sockets that has nobody to ask.
func bareListener() *listener {
	s := New(Options{})
	s.applyNames(wanted(
		primary(name("net", "web", "e1", "172.18.0.2", "fd00::2")),
		name("net", "pool", "e1", "172.18.0.2", "fd00::2"),
		name("net", "pool", "e2", "172.18.0.3", "fd00::3"),
	))
	l := &listener{server: s, namespace: "box", log: s.log}
	l.view.Store(newView(resolverOn("net"), s.counters.acquire(resolverOn("net")), nil))
	return l
}

// FuzzPacket throws bytes at the handler. Whatever they are, a reply must be
// well-formed, echo the ID, fit the client, and agree with what the library
// makes of the same query.
func FuzzPacket(f *testing.F) {
	for _, name := range []string{"web.", "WEB.net.", "pool.", ".", "2.0.18.172.in-addr.arpa.", `a\.b.`, `\000.`} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypePTR, dns.TypeMX, dns.TypeAXFR} {
			m := new(dns.Msg).SetQuestion(name, qtype)
			raw, _ := m.Pack()
			f.Add(raw)
			m.SetEdns0(1232, true)
			raw, _ = m.Pack()
			f.Add(raw)
		}
	}
	l := bareListener()
	var q query
	var w writer
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > maxQuery {
			return
		}
		reply := l.datagram(msg, netip.AddrPort{}, &q, &w)
		if reply == nil {
			return
		}
		var out dns.Msg
		if err := out.Unpack(reply); err != nil {
			t.Fatalf("reply %x: %v", reply, err)
		}
		if out.Id != binary.BigEndian.Uint16(msg) || !out.Response || len(reply) > q.udpLimit() {
			t.Fatalf("reply %s of %d bytes", &out, len(reply))
		}
		if q.parse(msg) != good {
			return
		}
		qname, _, err := dns.UnpackDomainName(msg, headerSize)
		if err != nil || out.Question[0].Name != qname || out.Question[0].Qtype != q.qtype {
			t.Fatalf("question %v, %v; want %s", out.Question, err, qname)
		}
		if q.exact && canonicalWire(t, qname) != string(q.name()) {
			t.Fatalf("name %q, want %q", q.name(), canonicalWire(t, qname))
		}
		e := newRequest(&source{}, nil, &q)
		if sent, err := e.message(queryMode{randomCase: true, keepsCase: true}); err != nil || new(dns.Msg).Unpack(sent) != nil || !sameQuestion(sent[headerSize:e.end()], q.question) {
			t.Fatalf("errand %x", sent)
		}
	})
}

// canonicalWire turns the library's escaped name into plain bytes.
func canonicalWire(t *testing.T, escaped string) string {
	t.Helper()
	wire := make([]byte, maxName)
	n, err := dns.PackDomainName(escaped, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for at := 0; wire[at] != 0 && at < n; at += 1 + int(wire[at]) {
		if at > 0 {
			out = append(out, '.')
		}
		for _, c := range wire[at+1 : at+1+int(wire[at])] {
			out = append(out, lower(c))
		}
	}
	return string(out)
}

// FuzzReply throws bytes at the client side as a name server's reply. Whatever
// is taken for an answer must come out well-formed in its frame, about the
// question and no longer than the client takes.
func FuzzReply(f *testing.F) {
	m := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion("world.test.", dns.TypeTXT))
	good, _ := m.Pack()
	f.Add(good)
	f.Add(append(bytes.Clone(good), make([]byte, 600)...))
	m.SetEdns0(1232, true)
	m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "world.test.", Rrtype: dns.TypeTXT, Class: 1, Ttl: 9}, Txt: []string{"x"}}}
	m.Extra = append(m.Extra, &dns.TXT{Hdr: dns.RR_Header{Name: "a.world.test.", Rrtype: dns.TypeTXT, Class: 1, Ttl: 9}, Txt: []string{strings.Repeat("y", 200)}})
	m.Compress = true
	good, _ = m.Pack()
	f.Add(good)
	var q query
	raw, _ := new(dns.Msg).SetQuestion("world.test.", dns.TypeTXT).Pack()
	q.parse(raw)
	e := newRequest(&source{}, nil, &q)
	f.Fuzz(func(t *testing.T, reply []byte) {
		if len(reply) < 2 {
			return
		}
		msg, _ := e.message(queryMode{noEDNS: true})
		copy(msg, reply[:2])
		if !answers(reply, msg, e.end()) || hasNoQuestion(reply) {
			return
		}
		now := time.Now()
		o, err := scan(reply, e.end(), e.qtype)
		if err != nil {
			return
		}
		a, err := newAnswer(bytes.Clone(reply), e.end(), o, now)
		if err != nil {
			return
		}
		for _, c := range []client{{limit: plainUDP}, {limit: maxMessage, edns: true, do: true}} {
			c.id, c.bits, c.question = 7, bitRD, q.question
			var w writer
			got := w.stored(&c, a, now.Add(time.Second))
			if len(got) > c.limit || binary.BigEndian.Uint16(got) != c.id || !bytes.Equal(got[headerSize:e.end()], q.question) {
				t.Fatalf("delivered %x", got)
			}
			if _, err := scan(got, e.end(), e.qtype); err != nil {
				t.Fatalf("delivered %x: %v", got, err)
			}
		}
	})
}

func TestTCPClientsThatMisbehave(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	apply(t, s, wanted(resolverOn("net"), name("net", "web", "e1", "172.18.0.2")))
	for what, raw := range map[string][]byte{
		"a huge length":  {0xff, 0xff, 1, 2, 3},
		"no query":       {0, 3, 1, 2, 3},
		"an empty query": {0, 0},
	} {
		conn, err := net.Dial("tcp4", o.tcp["box"])
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		conn.Write(raw)
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: answered", what)
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("%s: the connection stays open", what)
		}
		conn.Close()
	}
	// Several queries on one connection, the first in two pieces.
	conn, err := net.Dial("tcp4", o.tcp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	raw, _ := new(dns.Msg).SetQuestion("web.", dns.TypeA).Pack()
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(raw))), raw...)
	conn.Write(framed[:5])
	conn.Write(append(bytes.Clone(framed[5:]), framed...))
	for range 2 {
		c := dns.Conn{Conn: conn}
		m, err := c.ReadMsg()
		if err != nil && err != io.EOF || brief(m) != "NOERROR 172.18.0.2" {
			t.Fatalf("got %v, %v", m, err)
		}
	}
}
