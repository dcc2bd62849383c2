package resolver

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/message"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
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
		var q message.Query
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
	var q message.Query
	var w writer
	f.Fuzz(func(t *testing.T, msg []byte) {
		if len(msg) > message.MaxQuery {
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
		if out.Id != binary.BigEndian.Uint16(msg) || !out.Response || len(reply) > q.UDPLimit() {
			t.Fatalf("reply %s of %d bytes", &out, len(reply))
		}
		if q.Parse(msg) != message.Good {
			return
		}
		qname, _, err := dns.UnpackDomainName(msg, message.HeaderSize)
		if err != nil || out.Question[0].Name != qname || out.Question[0].Qtype != q.Type {
			t.Fatalf("question %v, %v; want %s", out.Question, err, qname)
		}
		if q.Exact && canonicalWire(t, qname) != string(q.Name()) {
			t.Fatalf("name %q, want %q", q.Name(), canonicalWire(t, qname))
		}
		sent, err := q.Forward().Query(message.Style{RandomCase: true})
		if err != nil || new(dns.Msg).Unpack(sent.Bytes()) != nil || !sameQuestion(sent.Bytes(), msg) {
			t.Fatalf("asked %x, %v", sent.Bytes(), err)
		}
	})
}

// sameQuestion tells whether two messages ask the same, the case of letters apart.
func sameQuestion(a, b []byte) bool {
	var p, q message.Query
	return p.Parse(a) == message.Good && q.Parse(b) == message.Good &&
		bytes.Equal(p.Name(), q.Name()) && p.Type == q.Type && p.Class == q.Class
}

// canonicalWire turns the library's escaped name into plain bytes.
func canonicalWire(t *testing.T, escaped string) string {
	t.Helper()
	wire := make([]byte, message.MaxName)
	n, err := dns.PackDomainName(escaped, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for at := 0; wire[at] != 0 && at < n; at += 1 + int(wire[at]) {
		if at > 0 {
			out = append(out, '.')
		}
		out = append(out, wire[at+1:at+1+int(wire[at])]...)
	}
	return message.Canonical(string(out))
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
		if err != nil && err != io.EOF || upstreamtest.Brief(m) != "NOERROR 172.18.0.2" {
			t.Fatalf("got %v, %v", m, err)
		}
	}
}
