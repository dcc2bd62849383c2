// Package trace says what becomes of a packet in an nftables ruleset, ours or anybody's:
// it is a packet tracer. It reads the expressions of rules as the kernel evaluates them,
// those that iptables-nft makes included (xtables extensions), against a packet and what
// the kernel knows besides.
//
//	kernel ──read──▶ Ruleset ──Run(chain, packet)──▶ verdict, and every rule that had a part in it
//
// What it does not know it never guesses: a rule with an expression of another kind is in
// doubt, unless another of its expressions says that it does not match, and it is named.
// Limits count as not reached. It changes nothing, and follows one hook at a time: what
// lies between hooks is its caller's part.
//
// See nft(8), and net/netfilter/nf_tables_core.c of the kernel.
package trace

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Ruleset is tables with all that is in them.
type Ruleset struct{ Tables []*Table }

// Table is one table.
type Table struct {
	Family  byte // NFPROTO_*
	Name    string
	Comment string
	Chains  []*Chain
	Sets    map[string]*Set
}

// String is the table as nft names it.
func (t *Table) String() string {
	families := map[byte]string{
		unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6",
		unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_ARP: "arp", unix.NFPROTO_NETDEV: "netdev",
	}
	return families[t.Family] + " " + t.Name
}

// Chain returns the chain of that name; nil if there is none.
func (t *Table) Chain(name string) *Chain {
	for _, c := range t.Chains {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Chain is a list of rules.
type Chain struct {
	Name  string
	Base  *Base // nil for a chain that is jumped to
	Rules []Rule
}

// Base says where packets enter a base chain, and what becomes of those that no rule
// decides about.
type Base struct {
	Type     string // "filter", "nat" or "route"
	Hook     uint32 // NF_INET_*, for every family
	Priority int32
	Drop     bool // its policy
}

// Rule is one rule.
type Rule struct {
	Handle  uint64
	Comment string
	Exprs   []expr.Any
	// Unknown are the names of expressions that could not be read. The rule is in doubt.
	Unknown []string
}

// Link is a network interface, as the packet knows it.
type Link struct {
	Name  string
	Index uint32
	Group uint32
}

// Packet is one packet at one hook.
type Packet struct {
	Frame    []byte // with its link-layer header
	In, Out  Link   // zero where the hook does not know them
	State    uint32 // of its connection, NF_CT_STATE bits; 0: the first of a new one
	Mark     uint32
	Original []byte // the packet before the translation of its destination; nil if there was none
	Host     Host
}

// Host is what rules ask of the host's routing.
type Host interface {
	// AddrType is what an address is to the host (RTN_*); by the addresses of one
	// interface alone if that is named.
	AddrType(a netip.Addr, link string) uint32
	// WayBack is the index of the interface by which an answer would leave, 0 for none,
	// if it is to be the interface by which the packet came.
	WayBack(p *Packet) uint32
	// NextHop is who the packet is handed to.
	NextHop(p *Packet) netip.Addr
}

// Verdict is what becomes of a packet.
type Verdict string

// Verdicts. Translations have Result.To.
const (
	None            Verdict = "" // the chain ends without one
	Accept          Verdict = "accept"
	Drop            Verdict = "drop"
	Reject          Verdict = "reject"
	Queue           Verdict = "queue"
	TranslateTo     Verdict = "dnat"
	TranslateFrom   Verdict = "snat"
	Masquerade      Verdict = "masquerade"
	Redirect        Verdict = "redirect"
	verdictReturn   Verdict = "return"
	verdictJump     Verdict = "jump"
	verdictGoto     Verdict = "goto"
	verdictContinue Verdict = "continue"
)

// Visit is a rule that matched, or may have.
type Visit struct {
	Table   *Table
	Chain   *Chain
	Rule    *Rule  // nil for the policy of the chain
	Index   int    // of the rule, from 0
	Verdict string // "jump x", "accept", "dnat to 10.0.0.2:80", "log" ...
	// Sets are the sets in which the packet was found, and the elements there.
	Sets []Found
	// Doubt says why it cannot be told whether the rule matches; empty if it does.
	Doubt string
}

// Found is an element of a set that a rule found.
type Found struct {
	Set     *Set
	Element Element
}

// Result is what a chain makes of a packet.
type Result struct {
	Verdict Verdict
	To      netip.AddrPort // of a translation; no address: stays; port 0: stays
	Visits  []Visit
	// Doubt says that a rule that may match could have decided otherwise.
	Doubt bool
}

// Run takes a packet through a chain of a table; a base chain's policy counts. The
// packet's mark is changed by rules that set it.
func (t *Table) Run(c *Chain, p *Packet) Result {
	e := evaluation{table: t, packet: p}
	v := e.chain(c, 0)
	if v == verdictReturn || v == None {
		v = None
		if c.Base != nil {
			if v = Accept; c.Base.Drop {
				v = Drop
				e.visits = append(e.visits, Visit{Table: t, Chain: c, Verdict: "policy drop"})
			}
		}
	}
	return Result{Verdict: v, To: e.to, Visits: e.visits, Doubt: e.doubt}
}
