package message

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// questionOf is the question for name servers that a client's query asks.
func questionOf(t testing.TB, m *dns.Msg) Question {
	t.Helper()
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q Query
	if v := q.Parse(raw); v != Good {
		t.Fatalf("verdict %d", v)
	}
	return q.Forward()
}

func TestNothingBehindAnAnswerIsKept(t *testing.T) {
	question := new(dns.Msg).SetQuestion("x.test.", dns.TypeA)
	m := new(dns.Msg).SetReply(question)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "x.test.", Rrtype: dns.TypeA, Class: 1, Ttl: 9}, A: []byte{192, 0, 2, 1}}}
	raw, _ := m.Pack()
	long := append(bytes.Clone(raw), make([]byte, 60000)...)
	asked := questionOf(t, question)
	o, err := asked.Scan(long)
	if err != nil {
		t.Fatal(err)
	}
	a, err := asked.Answer(long, o, time.Now())
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
	asked := questionOf(t, question)
	o, err := asked.Scan(raw)
	if err != nil {
		t.Fatal(err)
	}
	a, err := asked.Answer(raw, o, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Clone(raw[HeaderSize:question.Len()])
	for _, k := range []struct {
		limit, answers, authorities int
		edns                        bool
	}{
		{PlainUDP, (PlainUDP - question.Len()) / 16, 0, false}, {PlainUDP, (PlainUDP - question.Len() - optSize) / 16, 0, true},
		{len(raw) - 1, 100, 0, false}, {len(raw), 100, 1, false}, {len(raw), 100, 0, true}, {MaxMessage, 100, 1, true},
	} {
		var w Writer
		c := Client{Question: text, Limit: k.limit, EDNS: k.edns}
		got := w.Answer(&c, a, time.Now())
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
	var q Query
	raw, _ := new(dns.Msg).SetQuestion("world.test.", dns.TypeTXT).Pack()
	q.Parse(raw)
	asked := q.Forward()
	f.Fuzz(func(t *testing.T, reply []byte) {
		if len(reply) < 2 {
			return
		}
		sent, _ := asked.Query(Style{NoEDNS: true})
		copy(sent.msg, reply[:2])
		if !sent.Matches(reply) || HasNoQuestion(reply) {
			return
		}
		now := time.Now()
		o, err := asked.Scan(reply)
		if err != nil {
			return
		}
		a, err := asked.Answer(bytes.Clone(reply), o, now)
		if err != nil {
			return
		}
		for _, c := range []Client{{Limit: PlainUDP}, {Limit: MaxMessage, EDNS: true, DO: true}} {
			c.ID, c.Flags, c.Question = 7, FlagRD, q.Question
			var w Writer
			got := w.Answer(&c, a, now.Add(time.Second))
			if len(got) > c.Limit || binary.BigEndian.Uint16(got) != c.ID || !bytes.Equal(got[HeaderSize:asked.end()], q.Question) {
				t.Fatalf("delivered %x", got)
			}
			if _, err := asked.Scan(got); err != nil {
				t.Fatalf("delivered %x: %v", got, err)
			}
		}
	})
}
