package resolver

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// TestNothingIsLeftInASandbox: neither a pool nor a query that is out keeps a
// namespace alive.
func TestNothingIsLeftInASandbox(t *testing.T) {
	o := newLoopback()
	var dead atomic.Bool
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		if !dead.Load() {
			upstreamtest.Says("one")(w, q)
		}
	})
	s := serverFor(t, o)
	row := resolverOn("net")
	row.Servers = addrs("192.0.2.1")
	apply(t, s, wanted(row))
	for i := range 9 { // 1 + 2 + 4, and 2 of 8
		ask(t, o, "udp", fmt.Sprint("x", i, ".test"), dns.TypeTXT)
	}
	if spare, left := s.forward.upstream.Spare(), o.Left(); spare != 6 || left != 6 {
		t.Fatalf("%d spare, %d open", spare, left)
	}
	dead.Store(true)
	conn, err := dns.Dial("udp4", o.udp["box"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.WriteMsg(new(dns.Msg).SetQuestion("late.test.", dns.TypeTXT))
	await(t, "a query is out", func() bool { return s.forward.sockets.Inside() == 1 })
	apply(t, s, unwanted(row))
	if spare, left := s.forward.upstream.Spare(), o.Left(); spare != 0 || left != 0 {
		t.Errorf("when the sandbox is gone: %d spare, %d open", spare, left)
	}
	await(t, "the query is given up", func() bool {
		return s.forward.sockets.Inside() == 0 && s.forward.total.Inside() == 0
	})
}
