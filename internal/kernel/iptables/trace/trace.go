// Package trace says what becomes of a packet in the rules of iptables, ours or anybody's,
// as iptables-save writes them: it is a packet tracer. It knows the matches and targets that
// firewalls are usually made of; a rule with another is in doubt, unless something else in
// it says that it does not match.
//
//	iptables-save ──ruleset.Parse──▶ Ruleset ──Run(table, chain, packet)──▶ verdict, and every rule that had a part in it
//
// Packets, verdicts and what the host knows are those of package nft/trace, which does the
// same for nf_tables: so the two can be asked one after the other, at each hook in the order
// of priorities. Limits count as not reached. It changes nothing but the packet's mark.
//
// See iptables-extensions(8), and net/ipv4/netfilter/ip_tables.c of the kernel.
package trace

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	nft "github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// Visit is a rule that matched, or may have.
type Visit struct {
	Table, Chain string
	Rule         *ruleset.Rule // nil for the policy of the chain
	Index        int           // of the rule, from 0
	Verdict      string        // "jump DOCKER", "accept", "dnat to 10.0.0.2:80", "log" ...
	// Doubt says why it cannot be told whether the rule matches; empty if it does.
	Doubt string
}

// Result is what a chain makes of a packet.
type Result struct {
	Verdict nft.Verdict
	To      netip.AddrPort // of a translation; no address: stays; port 0: stays
	Visits  []Visit
	// Doubt says that a rule that may match could have decided otherwise.
	Doubt bool
}

// Bounds of one walk, as the kernel has them.
const (
	maxDepth = 64
	maxRules = 1 << 20
)

// Run takes a packet through a chain of the kernel ("FORWARD") in a table, its policy
// included. A chain that is not there accepts.
func Run(rules ruleset.Ruleset, table, chain string, p *nft.Packet) Result {
	e := evaluation{table: rules.Table(table), packet: p, header: headerOf(p.Frame)}
	c := e.table.Chain(chain)
	if c == nil {
		return Result{Verdict: nft.Accept}
	}
	v := e.chain(c, 0)
	if v == goOn || v == giveBack {
		if v = nft.Accept; c.Policy == "DROP" {
			v = nft.Drop
			e.visits = append(e.visits, Visit{Table: table, Chain: chain, Verdict: "policy drop"})
		}
	}
	return Result{Verdict: v, To: e.to, Visits: e.visits, Doubt: e.doubt}
}

// What a rule or chain says that is no verdict.
const (
	goOn     nft.Verdict = ""
	giveBack nft.Verdict = "return"
)

type evaluation struct {
	table  *ruleset.Table
	packet *nft.Packet
	header header
	to     netip.AddrPort
	visits []Visit
	doubt  bool
	rules  int
}

func (e *evaluation) chain(c *ruleset.Chain, depth int) nft.Verdict {
	for i := range c.Rules {
		if e.rules++; e.rules > maxRules {
			e.doubt = true
			return goOn
		}
		if v := e.rule(c, i, depth); v != goOn {
			return v
		}
	}
	return goOn
}

// rule returns what a rule makes of the packet: goOn for nothing.
func (e *evaluation) rule(c *ruleset.Chain, i, depth int) nft.Verdict {
	r := &c.Rules[i].Rule
	holds, doubt := e.matches(r)
	if !holds || r.Target == "" {
		return goOn
	}
	d := e.target(r)
	if doubt == "" {
		doubt = d.doubt
	}
	e.visits = append(e.visits, Visit{Table: e.table.Name, Chain: c.Name, Rule: r, Index: i, Verdict: d.text, Doubt: doubt})
	if doubt != "" {
		e.doubt = e.doubt || d.verdict != goOn || d.chain != nil || d.changes
		return goOn
	}
	if d.mark != nil {
		e.packet.Mark = *d.mark
	}
	if d.chain != nil {
		return e.jump(d.chain, r.Goto, depth)
	}
	if d.to.IsValid() || d.to.Port() != 0 {
		e.to = d.to
	}
	return d.verdict
}

func (e *evaluation) jump(c *ruleset.Chain, leaves bool, depth int) nft.Verdict {
	if depth >= maxDepth {
		e.doubt = true
		return goOn
	}
	switch v := e.chain(c, depth+1); {
	case v != goOn && v != giveBack:
		return v
	case leaves: // what comes back goes on where this chain was called from
		return giveBack
	}
	return goOn
}
