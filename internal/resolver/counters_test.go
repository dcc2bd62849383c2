package resolver

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

func TestStats(t *testing.T) {
	o := newLoopback()
	o.Serve(t, "192.0.2.1", upstreamtest.Says("one"))
	s := serverFor(t, o, "192.0.2.1")
	full := fills(&s.forward.total)
	lonely := desired.Resolver{Namespace: "lonely", Networks: []model.NetworkID{"far-id"}, Internal: true}
	apply(t, s, wanted(resolverOn("net", "more"), lonely, name("more", "web", "e1", "172.18.0.2")))
	for _, qname := range []string{"web", "web", "x.test", "x.test", "x.test"} {
		ask(t, o, "udp", qname, dns.TypeTXT)
	}
	bad := new(dns.Msg).SetQuestion("web.", dns.TypeA)
	bad.Opcode = dns.OpcodeNotify
	send(t, o, "udp", bad)
	full.Store(true)
	ask(t, o, "udp", "y.test", dns.TypeTXT)
	full.Store(false)
	o.udp["box"] = o.udp["lonely"]
	ask(t, o, "udp", "x.test", dns.TypeTXT)

	here := Counts{Local: 2, Forwarded: 1, CacheHits: 2, Malformed: 1, Refused: 1}
	far := Counts{Forwarded: 1, Failures: 1}
	expect := func(what string, networks map[model.NetworkID]Counts) {
		t.Helper()
		got := s.Stats()
		if got.Total != here.plus(far) || got.Total.Queries() != 8 || len(got.Networks) != len(networks) {
			t.Errorf("%s: %+v", what, got)
		}
		for id, want := range networks {
			if got.Networks[id] != want {
				t.Errorf("%s: %s: %+v, want %+v", what, id, got.Networks[id], want)
			}
		}
	}
	expect("both", map[model.NetworkID]Counts{"net-id": here, "far-id": far})
	apply(t, s, unwanted(lonely))
	expect("one is gone", map[model.NetworkID]Counts{"net-id": here})
	apply(t, s, wanted(resolverOn("more", "net")))
	expect("another is first", map[model.NetworkID]Counts{"more-id": {}})
}
