package message

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"
)

// FuzzQuery throws bytes at the parser. What it takes for a query asks the same once it
// is written for a name server and read again.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{"web.", "WEB.net.", ".", "2.0.18.172.in-addr.arpa.", `a\.b.`, `\000.`} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		raw, _ := m.Pack()
		f.Add(raw)
		m.SetEdns0(1232, true)
		raw, _ = m.Pack()
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q, again Query
		if q.Parse(msg) != Good {
			return
		}
		if limit := q.UDPLimit(); limit < PlainUDP || limit > maxUDP || len(q.Name()) > MaxName {
			t.Fatalf("limit %d, name %q", limit, q.Name())
		}
		sent, err := q.Forward().Query(Style{RandomCase: true})
		if err != nil || again.Parse(sent.Bytes()) != Good {
			t.Fatalf("asked %x, %v", sent.Bytes(), err)
		}
		if !bytes.Equal(again.Name(), q.Name()) || again.Type != q.Type || again.Class != q.Class || again.DO != q.DO || again.Exact != q.Exact {
			t.Fatalf("asked %x", sent.Bytes())
		}
		reply := bytes.Clone(sent.Bytes())
		reply[2] |= flagQR >> 8
		if !sent.Matches(reply) || !sent.SameCase(reply) {
			t.Fatalf("an answer to %x is not taken for one", sent.Bytes())
		}
	})
}
