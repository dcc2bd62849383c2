package resolver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/resolver/upstreamtest"
)

// containerRows are the rows of a container on a network, named as Docker names
// it there.
func containerRows(network string, sb model.Sandbox, aliases []string, ips ...string) []desired.Row {
	var rows []desired.Row
	endpoint := model.EndpointID(string(sb.Container) + "@" + network)
	for i, n := range model.DNSNames(sb, model.Endpoint{Aliases: aliases}) {
		row := name(network, n, string(endpoint), ips...)
		row.Primary = i == 0
		rows = append(rows, row)
	}
	return rows
}

// TestConformance is the table of what a client of Docker's embedded DNS server
// asks and gets. "forwarded" stands for the answer of a name server outside.
func TestConformance(t *testing.T) {
	id := func(c string) model.ContainerID { return model.ContainerID(strings.Repeat(c, 64)) }
	web := model.Sandbox{Container: id("a"), Name: "Web", Hostname: "www.corp"}
	db := model.Sandbox{Container: id("b"), Name: "db_1", Hostname: "bbbbbbbbbbbb"}
	own := resolverOn("front", "back.end")
	own.Links = dnsLinks("", model.Link{Target: "db_1", Alias: "database"}, model.Link{Target: string(id("b")), Alias: "by-id"}, model.Link{Target: "later", Alias: "soon"})
	var rows []desired.Row
	rows = append(rows, containerRows("front", web, []string{"app", "cache.local"}, "172.18.0.2", "fd00::2")...)
	rows = append(rows, containerRows("back.end", db, []string{"app"}, "172.19.0.3")...)
	rows = append(rows, containerRows("secret", model.Sandbox{Container: id("c"), Name: "vault"}, nil, "172.20.0.4")...)
	ndots := own
	ndots.Namespace, ndots.NDots = "ndots", 2

	o := newLoopback()
	o.Serve(t, "192.0.2.1", func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		r.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: q.Question[0].Qclass, Ttl: 5}, Txt: []string{"outside"}}}
		w.WriteMsg(r)
	})
	s := serverFor(t, o, "192.0.2.1")
	apply(t, s, wanted(append(rows, own, ndots)...))
	const forwarded = "NOERROR outside"
	for _, c := range []struct{ why, query, want string }{
		{"container name", "web A", "NOERROR 172.18.0.2"},
		{"case does not matter", "wEB A", "NOERROR 172.18.0.2"},
		{"a dot at the end is the same", "web. AAAA", "NOERROR fd00::2"},
		{"alias, on two networks: the first", "app A", "NOERROR 172.18.0.2"},
		{"alias with a dot", "cache.local A", "NOERROR 172.18.0.2"},
		{"short ID", "aaaaaaaaaaaa A", "NOERROR 172.18.0.2"},
		{"hostname", "www.corp A", "NOERROR 172.18.0.2"},
		{"name of a container like Compose's", "db_1 A", "NOERROR 172.19.0.3"},
		{"name.network", "web.front A", "NOERROR 172.18.0.2"},
		{"alias.network with a dot in it", "app.back.end A", "NOERROR 172.19.0.3"},
		{"hostname.network", "www.corp.front AAAA", "NOERROR fd00::2"},
		{"short ID.network", "bbbbbbbbbbbb.back.end A", "NOERROR 172.19.0.3"},
		{"not on that network", "web.back.end A", forwarded},
		{"part of a network's name", "app.back A", forwarded},
		{"a network alone", "front A", forwarded},
		{"more of the ID", "aaaaaaaaaaaaa A", forwarded},

		{"link", "database A", "NOERROR 172.19.0.3"},
		{"link by ID", "by-id A", "NOERROR 172.19.0.3"},
		{"link.network", "database.back.end A", "NOERROR 172.19.0.3"},
		{"link whose target is not there yet", "soon A", "NXDOMAIN"},

		{"no address of that family", "db_1 AAAA", "NOERROR"},
		{"no address of that family: link", "database AAAA", "NOERROR"},
		{"another type", "web MX", "NOERROR"},
		{"another type", "web TXT", "NOERROR"},
		{"another type", "web SRV", "NOERROR"},
		{"another type", "web.front HTTPS", "NOERROR"},
		{"any type", "web ANY", "NOERROR"},
		{"another class", "web CH TXT", "NOERROR"},
		{"another class, PTR", "2.0.18.172.in-addr.arpa CH PTR", "NOERROR"},
		{"another class, the world", "version.bind CH TXT", forwarded},

		{"PTR", "2.0.18.172.in-addr.arpa PTR", "NOERROR Web.front."},
		{"PTR of another network", "3.0.19.172.in-addr.arpa PTR", "NOERROR db_1.back.end."},
		{"PTR, IPv6", reverseName(t, "fd00::2") + " PTR", "NOERROR Web.front."},
		{"PTR in capitals", "2.0.18.172.IN-ADDR.ARPA PTR", "NOERROR Web.front."},
		{"PTR of nobody", "9.0.18.172.in-addr.arpa PTR", forwarded},
		{"PTR of a network that it is not on", "4.0.20.172.in-addr.arpa PTR", forwarded},
		{"a known address' name, another type", "2.0.18.172.in-addr.arpa TXT", "NOERROR"},
		{"part of a reverse name", "18.172.in-addr.arpa NS", forwarded},

		{"on a network that it is not on", "vault A", forwarded},
		{"on a network that it is not on", "vault.secret A", forwarded},
		{"the world", "world.test A", forwarded},
		{"below a container", "x.web A", forwarded},
		{"single label, ndots:0", "nobody A", forwarded},
		{"the root", ". NS", forwarded},
		{"zone transfer", "web AXFR", "REFUSED"},

		{"ndots: known name", "@ndots web A", "NOERROR 172.18.0.2"},
		{"ndots: unknown single label", "@ndots nobody A", "NOERROR"},
		{"ndots: unknown single label", "@ndots nobody AAAA", "NOERROR"},
		{"ndots: another type", "@ndots nobody TXT", forwarded},
		{"ndots: a search domain was added", "@ndots nobody.corp A", forwarded},
		{"ndots: name.network", "@ndots web.front A", "NOERROR 172.18.0.2"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := conformance(t, o, network, c.query); got != c.want {
				t.Errorf("%s: %s over %s: got %q, want %q", c.why, c.query, network, got, c.want)
			}
		}
	}
}

// conformance asks "[@namespace] name [class] type" and checks what holds for
// every answer.
func conformance(t *testing.T, o *loopback, network, text string) string {
	t.Helper()
	words := strings.Fields(text)
	where := "box"
	if strings.HasPrefix(words[0], "@") {
		where, words = words[0][1:], words[1:]
	}
	m := new(dns.Msg).SetQuestion(dns.Fqdn(words[0]), dns.StringToType[words[len(words)-1]])
	if len(words) == 3 {
		m.Question[0].Qclass = dns.StringToClass[words[1]]
	}
	m.SetEdns0(1400, false)
	addresses := map[string]map[string]string{"udp": o.udp, "tcp": o.tcp}[network]
	r, _, err := (&dns.Client{Net: network}).Exchange(m, addresses[where])
	if err != nil {
		t.Fatalf("%s over %s: %v", text, network, err)
	}
	local := slices.ContainsFunc(r.Answer, func(rr dns.RR) bool { return rr.Header().Ttl == answerTTL })
	for _, rr := range r.Answer {
		if local && (rr.Header().Ttl != 600 || !strings.EqualFold(rr.Header().Name, m.Question[0].Name)) {
			t.Errorf("%s: record %s", text, rr)
		}
	}
	if r.Question[0] != m.Question[0] || !r.RecursionAvailable || !r.RecursionDesired || r.Truncated || r.IsEdns0() == nil {
		t.Errorf("%s: reply %s", text, r)
	}
	return strings.TrimSpace(fmt.Sprint(upstreamtest.Brief(r)))
}
