package explain

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/published"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/nft"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
	"github.com/linkspan/linkspan/internal/kernel/unmanaged"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

var backend = firewalltest.Backend{Open: func(t testing.TB, host *namespaces.Namespace) kernel.Firewall {
	t.Helper()
	b, err := nft.New(nft.Options{Instance: "test", NetNS: host.FD()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}}

// asked is a question, and what the answer must have.
type asked struct {
	what     string
	rules    string // commands that an administrator has given before, one a line
	from     string // empty: the host
	to       string
	icmp     bool
	outcome  facts.Outcome
	arrives  string // to
	decides  string // in the step that decides, if there is one
	row      string // in a row of a step
	wayOut   string // in the step that decides
	mentions string // in some step
}

func questions() []asked {
	const web = "10.1.0.11:80"
	return []asked{
		{what: "published, from outside", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeAccepted, arrives: web, row: "publish tcp 0.0.0.0 8080"},
		{what: "published, IPv6", from: "2001:db8::2", to: "[2001:db8::1]:8080", outcome: facts.OutcomeAccepted, arrives: "[fd01::11]:80"},
		{what: "published, from localhost", to: "127.0.0.1:8080", outcome: facts.OutcomeAccepted, arrives: web, mentions: "masquerade"},
		{what: "published on localhost, from outside", from: "192.0.2.2", to: "192.0.2.1:8082", outcome: facts.OutcomeAccepted, arrives: "192.0.2.1:8082", mentions: "for this host"},
		{what: "a range", from: "192.0.2.2", to: "192.0.2.1:80", outcome: facts.OutcomeAccepted, arrives: web, row: "publish tcp 0.0.0.0 78"},
		{what: "direct to a container", from: "192.0.2.2", to: web, outcome: facts.OutcomeDropped, decides: "drop", row: "bridge br-a", wayOut: "--allow-direct-routing"},
		{what: "direct, ping", from: "192.0.2.2", to: web, icmp: true, outcome: facts.OutcomeDropped, decides: "drop"},
		{what: "127.0.0.1 from a container", from: "10.1.0.11", to: "127.0.0.1:8080", outcome: facts.OutcomeDropped, decides: "drop", wayOut: "this host alone"},
		{what: "out of the network", from: "10.1.0.11", to: "192.0.2.2:80", outcome: facts.OutcomeAccepted, arrives: "192.0.2.2:80", mentions: "masquerade"},
		{what: "a container's forged source", from: "10.1.0.99", to: "192.0.2.1:8080", outcome: facts.OutcomeUnknown, mentions: "port security"},

		{what: "a foreign chain that drops", rules: "nft add table inet admin\nnft add chain inet admin f { type filter hook forward priority 10; }\nnft add rule inet admin f meta l4proto tcp ct original proto-dst 8080 drop",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped, decides: "ct original proto-dst 8080 drop"},
		{what: "a foreign policy", rules: "nft add table ip admin\nnft add chain ip admin f { type filter hook forward priority -5; policy drop; }",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped, decides: "policy drop"},
		{what: "a foreign chain without a part in it", rules: "nft add table inet admin\nnft add chain inet admin f { type filter hook forward priority 10; }\nnft add rule inet admin f tcp dport { 22, 443 } drop",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeAccepted, mentions: "no rule matches"},
		{what: "a set and a verdict map", rules: "nft add table inet admin\nnft add set inet admin bad { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }\n" +
			"nft add chain inet admin c\nnft add rule inet admin c ip saddr @bad drop\n" +
			"nft add chain inet admin f { type filter hook forward priority 10; }\nnft add rule inet admin f iifname vmap { \"eth0\" : jump c }",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped, decides: "ip saddr @bad drop"},
		{what: "a rule in doubt", rules: "nft add table inet admin\nnft add chain inet admin f { type filter hook forward priority 10; }\nnft add rule inet admin f meta hour \"08:00\"-\"09:00\" drop",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeUnknown, mentions: "drop"},
		{what: "a rule in doubt that cannot match", rules: "nft add table inet admin\nnft add chain inet admin f { type filter hook forward priority 10; }\nnft add rule inet admin f meta hour \"08:00\"-\"09:00\" udp dport 53 drop",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeAccepted},
		{what: "dropped in any case", rules: "nft add table inet admin\nnft add chain inet admin f { type filter hook forward priority 10; }\nnft add rule inet admin f meta hour \"08:00\"-\"09:00\" drop\nnft add rule inet admin f drop",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped},
		{what: "somebody else's translation", rules: "nft add table ip admin\nnft add chain ip admin p { type nat hook prerouting priority -110; }\nnft add rule ip admin p tcp dport 8080 dnat to 10.1.0.11:99",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeAccepted, arrives: "10.1.0.11:99"},
		{what: "DOCKER-USER by iptables", rules: "iptables -N DOCKER-USER\niptables -A FORWARD -j DOCKER-USER\niptables -A DOCKER-USER -i eth0 ! -s 198.51.100.0/24 -j DROP",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped, decides: `iifname "eth0" ip saddr != 198.51.100.0/24 drop`},
		{what: "iptables, by the port that was dialled", rules: "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\niptables -A FORWARD -p tcp -m conntrack --ctorigdstport 8080 --ctdir ORIGINAL -j REJECT",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeRejected, decides: "ct original proto-dst 8080"},
		{what: "iptables, several ports", rules: "iptables -A FORWARD -p tcp -m multiport --dports 22,70:90 -j DROP", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped},
		{what: "iptables, other ports", rules: "iptables -A FORWARD -p tcp -m multiport ! --dports 22,70:90 -j DROP", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeAccepted},
		{what: "iptables, addresses", rules: "iptables -A FORWARD -m iprange --src-range 192.0.2.1-192.0.2.9 -j DROP", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped},
		{what: "iptables, what nobody knows", rules: "iptables -A FORWARD -m statistic --mode random --probability 0.5 -j DROP", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeUnknown, mentions: "statistic"},
		{what: "iptables, a translation", rules: "iptables -t nat -A PREROUTING -p tcp --dport 9999 -j DNAT --to-destination 10.1.0.11:80", from: "192.0.2.2", to: "192.0.2.1:9999", outcome: facts.OutcomeDropped, arrives: web},
		{what: "between containers", from: "10.1.0.11", to: "10.1.0.12:80", outcome: facts.OutcomeAccepted, arrives: "10.1.0.12:80", mentions: "bridge prerouting"},
		{what: "between containers, with br_netfilter", rules: "sysctl -qw net.bridge.bridge-nf-call-iptables=1\niptables -A FORWARD -i br-a -o br-a -j DROP",
			from: "10.1.0.11", to: "10.1.0.12:80", outcome: facts.OutcomeDropped, decides: `iifname "br-a" oifname "br-a" drop`},
		{what: "between containers, without br_netfilter", rules: "iptables -A FORWARD -i br-a -o br-a -j DROP", from: "10.1.0.11", to: "10.1.0.12:80", outcome: facts.OutcomeAccepted},
		{what: "the host's own firewall", rules: "nft add table inet admin\nnft add chain inet admin i { type filter hook input priority 0; policy drop; }", from: "192.0.2.2", to: "192.0.2.1:22", outcome: facts.OutcomeDropped, decides: "policy drop"},
	}
}

// TestExplain asks about packets on a host with a container, and rules of others.
func TestExplain(t *testing.T) {
	for _, q := range questions() {
		t.Run(q.what, func(t *testing.T) {
			rows := append(published.Rows(), published.Ports()...)
			s := published.NewHost(t, backend, false, published.Ports()...)
			for line := range strings.Lines(q.rules) {
				words := strings.Fields(strings.ReplaceAll(line, `"`, ""))
				if _, err := exec.LookPath(words[0]); err != nil {
					t.Skip(err)
				}
				if words[0] == "nft" {
					words = []string{"nft", strings.TrimSpace(strings.TrimPrefix(line, "nft"))}
				}
				s.Host.Run(words[0], words[1:]...)
			}
			p := facts.TracePacket{To: netip.MustParseAddrPort(q.to), Protocol: "tcp"}
			if q.from != "" {
				p.From = netip.MustParseAddr(q.from)
			}
			if q.icmp {
				p.Protocol = ""
			}
			neighbour := desired.PortSecurity{Port: "va2", Bridge: "br-a", MAC: "02:00:00:00:0a:02", Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.12")}}
			policy := append([]desired.Row{neighbour}, rows...)
			if err := s.Firewall.Apply(t.Context(), []desired.Delta{{Owner: "test", New: neighbour}}); err != nil {
				t.Fatal(err)
			}
			var got facts.Trace
			s.Host.Do(func() (err error) {
				got, err = New(Options{NetNS: s.Host.FD()}).Explain(t.Context(), p, policy)
				return err
			})
			check(t, q, got)
		})
	}
}

func check(t *testing.T, q asked, got facts.Trace) {
	t.Helper()
	var steps, decides, rows, wayOut strings.Builder
	for _, s := range got.Steps {
		line := strings.Join([]string{s.Hook, s.Table, s.Chain, s.Rule, s.Verdict, s.Doubt, s.Comment}, " | ")
		steps.WriteString(line + "\n")
		rows.WriteString(strings.Join(s.Rows, " ") + "\n")
		if s.Decides {
			decides.WriteString(line)
			wayOut.WriteString(s.WayOut)
		}
	}
	if got.Outcome != q.outcome || q.arrives != "" && got.To.String() != q.arrives {
		t.Errorf("%s at %s, want %s at %s\n%s", got.Outcome, got.To, q.outcome, q.arrives, &steps)
	}
	for what, pair := range map[string][2]string{
		"the rule that decides": {decides.String(), q.decides}, "rows": {rows.String(), q.row},
		"way out": {wayOut.String(), q.wayOut}, "steps": {steps.String(), q.mentions},
	} {
		if !strings.Contains(pair[0], pair[1]) {
			t.Errorf("%s: %q, want %q\n%s", what, pair[0], pair[1], &steps)
		}
	}
}

// TestExplainIPTables asks about packets where rules are those of iptables, the engine's or
// an administrator's: those that iptables-save prints are enough.
func TestExplainIPTables(t *testing.T) {
	rows := append(published.Rows(), published.Ports()...)
	s := published.NewHost(t, firewalltest.Backend{Open: func(testing.TB, *namespaces.Namespace) kernel.Firewall {
		return unmanaged.Firewall{Clear: func(context.Context) (int, error) { return 0, nil }}
	}}, false)
	ready := func() bool { // the kernel takes a moment to know an IPv6 address as its own
		r, err := s.Host.Link.RouteGet(net.ParseIP("2001:db8::1"))
		return err == nil && len(r) > 0 && r[0].Type == unix.RTN_LOCAL
	}
	for end := time.Now().Add(5 * time.Second); !ready() && time.Now().Before(end); time.Sleep(time.Millisecond) { // poll
	}
	for _, q := range []asked{
		{what: "published, from outside", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeAccepted, arrives: "10.1.0.11:80", row: "publish tcp 0.0.0.0 8080", mentions: "iptables -t nat | DOCKER | "},
		{what: "published, IPv6", from: "2001:db8::2", to: "[2001:db8::1]:8080", outcome: facts.OutcomeAccepted, arrives: "[fd01::11]:80", mentions: "ip6tables -t nat"},
		{what: "from localhost", to: "127.0.0.1:8080", outcome: facts.OutcomeAccepted, arrives: "10.1.0.11:80"},
		{what: "direct to a container", from: "192.0.2.2", to: "10.1.0.11:80", outcome: facts.OutcomeDropped, decides: "drop", row: "bridge br-a", wayOut: "--allow-direct-routing"},
		{what: "DOCKER-USER", rules: "*filter\n:DOCKER-USER - [0:0]\n-A DOCKER-USER -i eth0 ! -s 198.51.100.0/24 -j DROP\nCOMMIT\n",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped, decides: "iptables -t filter | DOCKER-USER"},
		{what: "a rule in doubt", rules: "*filter\n:DOCKER-USER - [0:0]\n-A DOCKER-USER -m time --timestart 08:00 -j DROP\nCOMMIT\n",
			from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeUnknown, mentions: "-m time"},
		{what: "a policy", rules: "*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n", from: "192.0.2.2", to: "192.0.2.1:8080", outcome: facts.OutcomeDropped, decides: "policy drop"},
	} {
		t.Run(q.what, func(t *testing.T) {
			ipv4, ipv6, err := iptables.Rulesets(iptables.Options{}, rows)
			if err != nil {
				t.Fatal(err)
			}
			others, err := ruleset.Parse(strings.NewReader(q.rules))
			if err != nil {
				t.Fatal(err)
			}
			for _, table := range others.Tables {
				for _, c := range table.Chains {
					own := ipv4.Table(table.Name).Chain(c.Name)
					own.Policy, own.Rules = cmp.Or(c.Policy, own.Policy), append(c.Rules, own.Rules...)
				}
			}
			saved := func(context.Context) (IPTables, error) { return IPTables{xtables.NFT, ipv4, ipv6}, nil }
			p := facts.TracePacket{To: netip.MustParseAddrPort(q.to), Protocol: "tcp"}
			if q.from != "" {
				p.From = netip.MustParseAddr(q.from)
			}
			got, err := New(Options{NetNS: s.Host.FD(), IPTables: saved}).Explain(t.Context(), p, rows)
			if err != nil {
				t.Fatal(err)
			}
			check(t, q, got)
		})
	}
}

// TestExplainAgrees asks about packets of the cases that every firewall is tried with, of
// which real ones go where they must (firewalltest.CasesForReal).
func TestExplainAgrees(t *testing.T) {
	const every = 23 // it takes a moment to read all rules
	l := firewalltest.NewLearnedLab(t, false)
	rows := firewalltest.CaseRows()
	backend.Resync(t, l.Host, rows...)
	x := New(Options{NetNS: l.Host.FD()})
	l.Host.Do(func() error {
		for i, c := range firewalltest.Cases() {
			if i%every != 0 {
				continue
			}
			got, err := x.Explain(t.Context(), c.Packet(), rows)
			if err != nil {
				return err
			}
			if wrong := c.Wrong(got); wrong != "" {
				t.Errorf("%s: %s\n%+v", c, wrong, got.Steps)
			}
		}
		return nil
	})
}

// TestWaysOut: the comments that ways out are known for are those of rules that there are.
func TestWaysOut(t *testing.T) {
	s := published.NewHost(t, backend, false)
	rules, err := trace.Read(t.Context(), s.Host.FD())
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, table := range rules.Tables {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				there[r.Comment] = true
			}
		}
	}
	for _, comment := range []string{commentUnpublished, commentICC, commentInternalOut, commentInternalIn, commentGuard, commentLoopback, commentSource} {
		if !there[comment] || wayOut(comment) == "" {
			t.Errorf("%q: there is such a rule: %t; way out %q", comment, there[comment], wayOut(comment))
		}
	}
	if wayOut("") != "" {
		t.Error("a way out of nothing")
	}
}
