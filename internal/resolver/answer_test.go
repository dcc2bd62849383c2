package resolver

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

const longID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// dnsLinks are private names on a network.
func dnsLinks(network model.NetworkID, links ...model.Link) []desired.DNSLink {
	var out []desired.DNSLink
	for _, l := range links {
		out = append(out, desired.DNSLink{Link: l, Network: network})
	}
	return out
}

// TestLinksOfNetworks: a private name leads to its target on the network that it
// belongs to, and nowhere else.
func TestLinksOfNetworks(t *testing.T) {
	one, two := name("net", "first", "e1", "172.18.0.2"), name("net.two", "first", "e2", "172.19.0.2")
	other := name("net.two", "alias", "e3", "172.19.0.9")
	for _, c := range []struct {
		what string
		rows []desired.Row
		want []string // of "alias", by the network of its link
	}{
		{"target on both networks", []desired.Row{one, two}, []string{"172.18.0.2", "172.19.0.2"}},
		{"target on the second", []desired.Row{two}, []string{"", "172.19.0.2"}},
		{"a real name on the second", []desired.Row{other}, []string{"172.19.0.9", ""}},
		{"a real name behind the link", []desired.Row{one, other}, []string{"172.18.0.2", ""}},
	} {
		for i, network := range []model.NetworkID{"net-id", "net.two-id"} {
			r := resolverOn("net", "net.two")
			r.Links = dnsLinks(network, model.Link{Target: "first", Alias: "alias"})
			table := newTable().edit()
			for _, row := range c.rows {
				table.put(row.(desired.Name))
			}
			addrs, found := table.commit().find(newView(r, nil, nil), []byte("alias"), model.IPv4)
			got := ""
			if len(addrs) > 0 {
				got = addrs[0].String()
			}
			if got != c.want[i] || found == unknown {
				t.Errorf("%s, link on %s: %q, finding %d", c.what, network, got, found)
			}
		}
	}
}

// twoNetworks is two networks, with what can be odd about names in them.
func twoNetworks() []desired.Delta {
	r := resolverOn("net", "net.two")
	r.Links = dnsLinks("", model.Link{Target: "web", Alias: "Database"},
		model.Link{Target: "nobody", Alias: "late"},
		model.Link{Target: longID, Alias: "byid"},
		model.Link{Target: "/slashed", Alias: "api"},
		model.Link{Target: "inner", Alias: "six"}, // hides the real "six"
	)
	return wanted(r,
		primary(name("net", "Web", "e1", "172.18.0.2", "fd00::2")),
		name("net", "app", "e1", "172.18.0.2", "fd00::2"),
		name("net", longID[:12], "e3", "172.18.0.9"),
		name("net", "slashed", "e4", "172.18.0.8"),
		name("net", "dotted.name", "e5", "172.18.0.7"),
		name("net", "nowhere", "e8"),
		name("net", "six", "e9", "fd00::9"),
		name("net", "split", "e6", "172.18.0.6"),
		name("net.two", "split", "e7", "fd02::6"),
		primary(name("net.two", "inner", "e2", "172.19.0.3")),
		name("net.two", "web", "e2", "172.19.0.3"),
		name("elsewhere", "hidden", "e10", "172.20.0.2"),
		primary(name("elsewhere", "hidden2", "e10", "172.20.0.3")),
	)
}

func TestLocalNames(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	apply(t, s, twoNetworks())
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"web", dns.TypeA, "NOERROR 172.18.0.2"},
		{"WEB", dns.TypeA, "NOERROR 172.18.0.2"},
		{"web", dns.TypeAAAA, "NOERROR fd00::2"},
		{"app", dns.TypeA, "NOERROR 172.18.0.2"},
		{longID[:12], dns.TypeA, "NOERROR 172.18.0.9"},
		{"app.net", dns.TypeA, "NOERROR 172.18.0.2"},
		{"App.Net", dns.TypeA, "NOERROR 172.18.0.2"},
		{"web.net", dns.TypeA, "NOERROR 172.18.0.2"},
		{"web.net.two", dns.TypeA, "NOERROR 172.19.0.3"},
		{"inner.net.two", dns.TypeA, "NOERROR 172.19.0.3"},
		{"dotted.name", dns.TypeA, "NOERROR 172.18.0.7"},
		{"dotted.name.net", dns.TypeA, "NOERROR 172.18.0.7"},
		{"split", dns.TypeA, "NOERROR 172.18.0.6"},
		{"split", dns.TypeAAAA, "NOERROR fd02::6"},

		{"inner", dns.TypeAAAA, "NOERROR"},
		{"web", dns.TypeMX, "NOERROR"},
		{"web", dns.TypeTXT, "NOERROR"},
		{"web", dns.TypeHTTPS, "NOERROR"},
		{"web.net", dns.TypeSRV, "NOERROR"},
		{"nowhere", dns.TypeA, "NOERROR"},
		{"web", dns.TypeAXFR, "REFUSED"},

		{"database", dns.TypeA, "NOERROR 172.18.0.2"},
		{"database.net.two", dns.TypeA, "NOERROR 172.19.0.3"},
		{"byid", dns.TypeA, "NOERROR 172.18.0.9"},
		{"api", dns.TypeA, "NOERROR 172.18.0.8"},
		{"six", dns.TypeAAAA, "NOERROR"},
		{"six", dns.TypeA, "NOERROR 172.19.0.3"},
		{"late", dns.TypeA, "NXDOMAIN"},

		{"2.0.18.172.in-addr.arpa", dns.TypePTR, "NOERROR Web.net."},
		{"3.0.19.172.IN-ADDR.arpa", dns.TypePTR, "NOERROR inner.net.two."},
		{reverseName(t, "fd00::2"), dns.TypePTR, "NOERROR Web.net."},
		{"2.0.18.172.in-addr.arpa", dns.TypeA, "NOERROR"},

		// Nobody to ask about the rest.
		{"hidden", dns.TypeA, "SERVFAIL"},
		{"3.0.20.172.in-addr.arpa", dns.TypePTR, "SERVFAIL"},
		{"7.0.18.172.in-addr.arpa", dns.TypePTR, "SERVFAIL"},
		{"web.elsewhere", dns.TypeA, "SERVFAIL"},
		{"web.net.", dns.TypeA, "NOERROR 172.18.0.2"},
		{"x.web", dns.TypeA, "SERVFAIL"},
		{`web\.net`, dns.TypeA, "SERVFAIL"},
		{".", dns.TypeNS, "SERVFAIL"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := ask(t, o, network, c.name, c.qtype)
			if got := upstreamtest.Brief(r); got != c.want {
				t.Errorf("%s %s %s: got %q, want %q", network, dns.TypeToString[c.qtype], c.name, got, c.want)
			}
			if !r.RecursionAvailable || !r.RecursionDesired || r.Truncated {
				t.Errorf("%s %s: flags %+v", network, c.name, r.MsgHdr)
			}
			for _, rr := range r.Answer {
				if rr.Header().Ttl != 600 || !strings.EqualFold(rr.Header().Name, dns.Fqdn(c.name)) {
					t.Errorf("%s %s: record %s", network, c.name, rr)
				}
			}
		}
	}
	if asked := o.Asked(); len(asked) > 0 {
		t.Errorf("name servers were asked: %v", asked)
	}
}

func reverseName(t *testing.T, a string) string {
	t.Helper()
	name, err := dns.ReverseAddr(a)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAddressesComeInEveryOrder(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	all := []string{"172.18.0.2", "172.18.0.3", "172.18.0.4"}
	rows := []desired.Row{resolverOn("net")}
	for i, a := range all {
		rows = append(rows, name("net", "pool", string(rune('a'+i)), a))
	}
	apply(t, s, wanted(rows...))
	first := map[string]int{}
	for range 300 {
		got := strings.Fields(upstreamtest.Brief(ask(t, o, "udp", "pool", dns.TypeA)))[1:]
		first[got[0]]++
		if slices.Sort(got); !slices.Equal(got, all) {
			t.Fatalf("got %v, want %v", got, all)
		}
	}
	for _, a := range all {
		if first[a] < 50 {
			t.Errorf("%s came first %d times of 300", a, first[a])
		}
	}
}

func TestTruncationToTheClientsSize(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o)
	rows := []desired.Row{resolverOn("net")}
	for i := range 200 {
		rows = append(rows, name("net", "pool", "e"+strconv.Itoa(i), "172.18.0."+strconv.Itoa(i+1)))
	}
	apply(t, s, wanted(rows...))
	for _, c := range []struct {
		network   string
		edns      uint16
		size      int
		truncated bool
	}{
		{"udp", 0, 512, true},
		{"udp", 100, 512, true}, // less than 512 counts as 512
		{"udp", 1232, 1232, true},
		{"udp", 4096, 4096, false},
		{"tcp", 0, 65535, false},
	} {
		m := new(dns.Msg).SetQuestion("pool.", dns.TypeA)
		if c.edns > 0 {
			m.SetEdns0(c.edns, true)
		}
		r := send(t, o, c.network, m)
		r.Compress = true
		if r.Truncated != c.truncated || r.Len() > c.size || (len(r.Answer) == 200) == c.truncated {
			t.Errorf("%s edns %d: %d records, %d bytes, truncated %t", c.network, c.edns, len(r.Answer), r.Len(), r.Truncated)
		}
		if (r.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("%s edns %d: OPT %v", c.network, c.edns, r.IsEdns0())
		}
		if opt := r.IsEdns0(); opt != nil && (!opt.Do() || opt.Version() != 0) {
			t.Errorf("%s edns %d: OPT %v", c.network, c.edns, opt)
		}
	}
}

func TestNDots(t *testing.T) {
	o := newLoopback()
	s := serverFor(t, o, "192.0.2.1")
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})
	r := resolverOn("net")
	r.NDots = 1
	apply(t, s, wanted(r, name("net", "web", "e1", "172.18.0.2")))
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"web", dns.TypeA, "NOERROR 172.18.0.2"},
		{"other", dns.TypeA, "NOERROR"},
		{"other", dns.TypeAAAA, "NOERROR"},
		{"other", dns.TypeTXT, "NXDOMAIN"},
		{"other.test", dns.TypeA, "NXDOMAIN"},
	} {
		if got := upstreamtest.Brief(ask(t, o, "udp", c.name, c.qtype)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if n := len(o.Asked()); n != 2 {
		t.Errorf("asked %v", o.Asked())
	}
}
