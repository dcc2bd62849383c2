package iptables

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/border"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/kernel/iptables/trace"
	nft "github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// rules is the rules that rows become, as the kernel has them: those of iptables as
// iptables-save says them, and the tables beside.
type rules struct {
	ip     map[int]ruleset.Ruleset // by family
	tables nft.Ruleset
}

func modelOf(t testing.TB, rows []desired.Row) firewalltest.Model {
	t.Helper()
	host := namespaces.New(t)
	b := open(t, host).(*Backend)
	if _, err := b.Resync(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	return rulesOfBackend(t, b, host)
}

func rulesOfBackend(t testing.TB, b *Backend, host *namespaces.Namespace) rules {
	t.Helper()
	m := rules{ip: map[int]ruleset.Ruleset{}}
	for _, tool := range b.tools {
		var err error
		if m.ip[tool.family], err = tool.read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	all, err := nft.Read(t.Context(), host.FD())
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range all.Tables {
		if table.Name == "linkspan" {
			m.tables.Tables = append(m.tables.Tables, table)
		}
	}
	return m
}

// step is a chain that a packet comes to at a hook: of iptables, or of a table beside.
type step struct {
	table, chain string
	family       byte // of a table beside; 0 for iptables
}

// steps are those of a hook, in the order of their priorities.
func steps(at firewalltest.Hook) []step {
	const bridge, inet = unix.NFPROTO_BRIDGE, unix.NFPROTO_INET
	return map[firewalltest.Hook][]step{
		firewalltest.BridgePrerouting:     {{"", "prerouting", bridge}},
		firewalltest.BridgeForward:        {{"", "forward", bridge}},
		firewalltest.BridgeForwardLate:    {{"", "icc", bridge}},
		firewalltest.BridgeInput:          {{"", "input", bridge}, {"", "hear", bridge}},
		firewalltest.BridgeOutput:         {{"", "output", bridge}},
		firewalltest.Prerouting:           {{"", "early", inet}, {"raw", "PREROUTING", 0}, {"mangle", "PREROUTING", 0}},
		firewalltest.TranslateDestination: {{"nat", "PREROUTING", 0}},
		firewalltest.Input:                {{"mangle", "INPUT", 0}, {"filter", "INPUT", 0}, {"", "input", inet}},
		firewalltest.TranslateOutput:      {{"nat", "OUTPUT", 0}},
		firewalltest.Output:               {{"filter", "OUTPUT", 0}, {"", "sent", inet}},
		firewalltest.Forward:              {{"mangle", "FORWARD", 0}, {"filter", "FORWARD", 0}, {"", "forward", inet}},
		firewalltest.TranslateSource:      {{"nat", "POSTROUTING", 0}},
	}[at]
}

// Run implements firewalltest.Model.
func (m rules) Run(at firewalltest.Hook, h firewalltest.Hop) firewalltest.Verdict {
	for _, s := range steps(at) {
		if v := m.step(s, h); v != firewalltest.Accept {
			return v
		}
	}
	return firewalltest.Accept
}

// step returns what one chain makes of a packet. None of our own rules may be in doubt.
func (m rules) step(s step, h firewalltest.Hop) firewalltest.Verdict {
	const index = 2 // of every interface that a packet of the trials comes in by
	p := &nft.Packet{
		Frame: h.Frame, In: nft.Link{Name: h.In, Index: index, Group: h.InGroup}, Out: nft.Link{Name: h.Out, Group: h.OutGroup},
		State: h.State, Original: h.First, Host: routes{h},
	}
	if h.Mark != nil {
		p.Mark = *h.Mark
	}
	var verdict nft.Verdict
	var to netip.AddrPort
	var doubt bool
	if s.family == 0 {
		family := four
		if h.Kind() == frames.IPv6 {
			family = six
		}
		r := trace.Run(m.ip[family], s.table, s.chain, p)
		verdict, to, doubt = r.Verdict, r.To, r.Doubt
	} else {
		for _, t := range m.tables.Tables {
			if t.Family == s.family {
				r := t.Run(t.Chain(s.chain), p)
				verdict, to, doubt = r.Verdict, r.To, r.Doubt
			}
		}
	}
	if doubt {
		panic("in doubt: " + s.chain)
	}
	if h.Mark != nil {
		*h.Mark = p.Mark
	}
	switch verdict {
	case nft.TranslateTo, nft.TranslateFrom:
		*h.To = to
		return firewalltest.Translate
	case nft.Masquerade:
		return firewalltest.Masquerade
	}
	return firewalltest.Verdict(verdict)
}

// routes is the routing of the trials' host.
type routes struct{ firewalltest.Hop }

// AddrType implements trace.Host.
func (r routes) AddrType(_ netip.Addr, link string) uint32 { return r.DestinationType(link != "") }

// WayBack implements trace.Host.
func (r routes) WayBack(p *nft.Packet) uint32 {
	if r.HasWayBack() {
		return p.In.Index
	}
	return 0
}

// NextHop implements trace.Host: no trial goes farther than to a neighbour.
func (r routes) NextHop(*nft.Packet) netip.Addr { return r.Destination() }

// kind is a rule without what differs from one network, container or port to the next.
func kind(r ruleset.Rule) string {
	s := regexp.MustCompile(`br-[a-z]+|[0-9a-f]*:[0-9a-f:]+(/[0-9]+)?|[0-9]+\.[0-9.]+(/[0-9]+)?`).ReplaceAllString(r.String(), "X")
	return regexp.MustCompile(`(port|-p) [a-z0-9:]+`).ReplaceAllString(s, "$1 N")
}

// without leaves out the rules of a kind from a chain, of both families.
func (m rules) without(table, chain, which string) (undo func()) {
	var undos []func()
	for _, all := range m.ip {
		if c := all.Table(table).Chain(chain); c != nil {
			whole := c.Rules
			c.Rules = slices.DeleteFunc(slices.Clone(whole), func(l ruleset.Line) bool { return kind(l.Rule) == which })
			undos = append(undos, func() { c.Rules = whole })
		}
	}
	return func() {
		for _, u := range undos {
			u()
		}
	}
}

// TestEveryRuleMatters leaves out one kind of rules after the other: some trial, or some
// forged frame, must notice.
func TestEveryRuleMatters(t *testing.T) {
	open, guarded := modelOf(t, firewalltest.Rows(false)).(rules), modelOf(t, firewalltest.Rows(true)).(rules)
	atBorder := modelOf(t, border.Rows()).(rules)
	n := border.NewNetwork(atBorder)
	n.Fences = nil
	forged := border.Forgeries(20000, border.Speakers()...)
	seen := map[string]bool{}
	for _, all := range guarded.ip {
		for _, table := range all.Tables {
			for _, c := range table.Chains {
				for _, l := range slices.Clone(c.Rules) {
					which := kind(l.Rule)
					name := table.Name + " " + c.Name + " " + which
					if seen[name] || elsewhere(table.Name, c.Name, which) != "" {
						continue
					}
					seen[name] = true
					a, b, d := open.without(table.Name, c.Name, which), guarded.without(table.Name, c.Name, which), atBorder.without(table.Name, c.Name, which)
					if len(firewalltest.Disagreements(open, guarded)) == 0 && !n.GoesWrong(forged) {
						t.Errorf("nobody misses %s", name)
					}
					a()
					b()
					d()
				}
			}
		}
	}
}

// elsewhere says of rules why no trial here misses them: something else stands in for them
// in these trials, or others are about them.
func elsewhere(table, chain, which string) string {
	switch {
	case chain == "OUTPUT" || chain == chainOutput || strings.Contains(which, "-o lo"):
		return "the host's own packets: TestCasesByModel, TestWaysIn"
	case chain == chainDNAT && (strings.Contains(which, "-d X") || !strings.Contains(which, "]X") && !strings.Contains(which, "XX")):
		return "a host port of an address, or a range, from its own network: TestCasesByModel"
	case strings.Contains(which, "-s X -o X") && chain == chainPostrouting:
		return "from localhost: TestWaysIn"
	case chain == chainUser || strings.Contains(which, chainUser):
		return "the administrator's: TestUserChainDoesNotOverrule"
	case strings.Contains(which, chainInternal) || chain == chainInternal, table == tableMangle && chain == chainMarks && strings.HasSuffix(which, "-o X -j DROP"), chain == chainEntering && which == "-o X -j DROP":
		return "one before DOCKER-USER, one behind: TestUserChainDoesNotOverrule"
	case chain == chainLeaving && strings.HasSuffix(which, "RETURN"):
		return "keeps drops of packets that leave from those that do not; filter drops most of these too"
	}
	return ""
}

// TestUserChainDoesNotOverrule: what an administrator accepts in DOCKER-USER opens no
// internal network, lets no source in that is a container's, and nothing past the
// translation of a network that is not open to direct routing. Without one of the rules
// that see to it, it does.
func TestUserChainDoesNotOverrule(t *testing.T) {
	m := modelOf(t, firewalltest.Rows(false)).(rules)
	for _, all := range m.ip {
		user := all.Table(tableFilter).Chain(chainUser)
		user.Rules = append(user.Rules, ruleset.Line{Rule: ruleset.Rule{Target: "ACCEPT"}})
	}
	packet := func(in, out, src, dst string, state uint32) firewalltest.Hop {
		const mac = "02:00:00:00:ff:01"
		return firewalltest.Hop{Frame: frames.Between(mac, mac, src, dst).UDP(1, 80, 0), In: in, Out: out, State: state, Mark: new(uint32), To: new(netip.AddrPort)}
	}
	const established = firewalltest.StateEstablished
	for _, c := range []struct {
		what, chain, kind string // the rule that sees to it
		hop               firewalltest.Hop
	}{
		{"into an internal network", chainMarks, "! -i X -o X -j DROP", packet("eth0", "br-i", "192.0.2.2", "10.3.0.11", 0)},
		{"into one, established", chainMarks, "! -i X -o X -j DROP", packet("eth0", "br-i", "192.0.2.2", "10.3.0.11", established)},
		{"out of one", chainMarks, "-i X ! -o X -j DROP", packet("br-i", "eth0", "10.3.0.11", "192.0.2.2", 0)},
		{"out of one, IPv6, established", chainMarks, "-i X ! -o X -j DROP", packet("br-i", "eth0", "fd03::11", "2001:db8::2", established)},
		{"direct", chainEntering, "-o X -j DROP", packet("eth0", "br-a", "192.0.2.2", "10.1.0.11", 0)},
		{"direct, IPv6", chainEntering, "-o X -j DROP", packet("eth0", "br-a", "2001:db8::2", "fd01::11", 0)},
		{"under a container's source", chainEntering, "-s X -j DROP", packet("eth0", "br-a", "10.2.0.11", "10.1.0.11", established)},
		{"out, of no connection", chainLeaving, "-m conntrack --ctstate INVALID -j DROP", packet("br-a", "eth0", "10.1.0.11", "192.0.2.2", firewalltest.StateInvalid)},
		{"out, from a link-local address", chainLeaving, "-s X -j DROP", packet("br-a", "eth0", "169.254.1.1", "192.0.2.2", 0)},
	} {
		if got := m.Run(firewalltest.Forward, c.hop); got != firewalltest.Drop {
			t.Errorf("%s: %s", c.what, got)
		}
		undo := m.without(tableMangle, c.chain, c.kind)
		if got := m.step(step{tableMangle, "FORWARD", 0}, c.hop); got == firewalltest.Drop && c.what != "into an internal network" { // that one is new: it is direct, too
			t.Errorf("%s: without %s: %s", c.what, c.kind, got)
		}
		undo()
	}
	// An answer, and what was translated, is let in.
	for _, h := range []firewalltest.Hop{packet("eth0", "br-a", "192.0.2.2", "10.1.0.11", established), packet("br-a", "eth0", "10.1.0.11", "192.0.2.2", 0)} {
		if got := m.Run(firewalltest.Forward, h); got != firewalltest.Accept {
			t.Errorf("%s to %s: %s", h.In, h.Out, got)
		}
	}
}

// TestStrayToAPublishedAddress: what is of no connection does not get to the host by a port
// that is published on one of its addresses.
func TestStrayToAPublishedAddress(t *testing.T) {
	m := modelOf(t, firewalltest.Rows(false)).(rules)
	for port, want := range map[uint16]firewalltest.Verdict{8081: firewalltest.Drop, 9101: firewalltest.Drop, 9205: firewalltest.Drop, 8083: firewalltest.Accept} {
		const mac = "02:00:00:00:ff:01"
		h := firewalltest.Hop{Frame: frames.Between(mac, mac, "192.0.2.2", "192.0.2.1").UDP(1, port, 0), In: "eth0", State: firewalltest.StateInvalid}
		if got := m.Run(firewalltest.Input, h); got != want {
			t.Errorf("port %d: %s, want %s", port, got, want)
		}
		h.State = 0 // of a connection it is the host's business
		if got := m.Run(firewalltest.Input, h); got != firewalltest.Accept {
			t.Errorf("port %d, new: %s", port, got)
		}
	}
}

// ofKernel is the same rules as nf_tables has them, for which there is another tracer.
type ofKernel struct {
	rules
	all *nft.Ruleset
}

// Run implements firewalltest.Model.
func (m ofKernel) Run(at firewalltest.Hook, h firewalltest.Hop) firewalltest.Verdict {
	want := m.rules.Run(at, h)
	for _, s := range steps(at) {
		if s.family != 0 {
			continue
		}
		family := byte(unix.NFPROTO_IPV4)
		if h.Kind() == frames.IPv6 {
			family = unix.NFPROTO_IPV6
		}
		for _, t := range m.all.Tables {
			c := t.Chain(s.chain)
			if t.Family != family || t.Name != s.table || c == nil {
				continue
			}
			p := &nft.Packet{
				Frame: h.Frame, In: nft.Link{Name: h.In, Index: 2, Group: h.InGroup}, Out: nft.Link{Name: h.Out, Group: h.OutGroup},
				State: h.State, Original: h.First, Host: routes{h},
			}
			if h.Mark != nil {
				p.Mark = *h.Mark
			}
			one := trace.Run(m.ip[map[byte]int{unix.NFPROTO_IPV4: four, unix.NFPROTO_IPV6: six}[family]], s.table, s.chain, p)
			if h.Mark != nil {
				p.Mark = *h.Mark
			}
			if other := t.Run(c, p); other.Verdict != one.Verdict || other.To != one.To || other.Doubt || one.Doubt {
				panic(s.table + " " + s.chain + ": " + string(one.Verdict) + " " + one.To.String() + " or " + string(other.Verdict) + " " + other.To.String())
			}
		}
	}
	return want
}

// TestTracersAgree: what iptables-save says of the rules, and what nf_tables says of them,
// come to the same for every trial and case.
func TestTracersAgree(t *testing.T) {
	both := firewalltest.Backend{Open: open, Model: func(t testing.TB, rows []desired.Row) firewalltest.Model {
		host := namespaces.New(t)
		b := open(t, host).(*Backend)
		if _, err := b.Resync(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		m := ofKernel{rules: rulesOfBackend(t, b, host)}
		var err error
		if m.all, err = nft.Read(t.Context(), host.FD()); err != nil {
			t.Fatal(err)
		}
		return m
	}}
	firewalltest.ModelAgrees(t, both)
	firewalltest.CasesByModel(t, both)

	m := both.Model(t, []desired.Row{desired.BridgePolicy{Bridge: "br-a"}, desired.Publish{
		Protocol: "sctp", Host: netip.IPv4Unspecified(), First: 130, Last: 139, To: address("10.1.0.11"), ToFirst: 30, Bridge: "br-a",
	}})
	for port, want := range map[uint16]firewalltest.Verdict{129: firewalltest.Accept, 132: firewalltest.Translate, 140: firewalltest.Accept} {
		const mac, sctp = "02:00:00:00:ff:01", 132
		h := firewalltest.Hop{Frame: frames.Between(mac, mac, "192.0.2.2", "192.0.2.1").UDP(1, port, 0), In: "eth0", To: new(netip.AddrPort)}
		h.Frame[14+9] = sctp
		if got := m.Run(firewalltest.TranslateDestination, h); got != want || got == firewalltest.Translate && h.To.String() != "10.1.0.11:32" {
			t.Errorf("SCTP to %d: %s %s", port, got, h.To)
		}
	}
}
