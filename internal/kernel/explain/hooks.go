package explain

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	iptrace "github.com/linkspan/linkspan/internal/kernel/iptables/trace"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
)

// baseChain is a chain at a hook, in whatever language.
type baseChain struct {
	priority int32
	nat      bool
	source   bool // a nat chain's: it translates sources
	run      func(hook string) answer
}

// answer is what a chain makes of the packet.
type answer struct {
	verdict trace.Verdict
	to      netip.AddrPort // of a translation
	steps   []facts.TraceStep
	doubt   bool
}

// dropped tells whether that is the packet's end.
func (a answer) dropped() bool { return a.verdict == trace.Drop || a.verdict == trace.Reject }

// tables are those of nf_tables that a packet meets. Where iptables' own word was read of
// iptables-nft, that stands for them.
func (w *walk) tables(families ...byte) (out []*trace.Table) {
	names := []string{"raw", "mangle", "nat", "filter", "security"}
	for _, t := range w.rules.Tables {
		isIP := t.Family == unix.NFPROTO_IPV4 || t.Family == unix.NFPROTO_IPV6
		if slices.Contains(families, t.Family) && !(isIP && w.iptables.Variant == xtables.NFT && slices.Contains(names, t.Name)) {
			out = append(out, t)
		}
	}
	return out
}

// at are the chains of a hook, in the order in which the kernel asks them.
func (w *walk) at(hook uint32, families ...byte) (out []baseChain) {
	for _, t := range w.tables(families...) {
		for _, c := range t.Chains {
			if c.Base == nil || c.Base.Hook != hook {
				continue
			}
			out = append(out, baseChain{c.Base.Priority, c.Base.Type == "nat", translatesSource(hook), func(name string) answer {
				return w.steps(name, t, c, t.Run(c, w.packet))
			}})
		}
	}
	if !slices.Contains(families, unix.NFPROTO_BRIDGE) {
		out = append(out, w.legacy(hook, families[0] == unix.NFPROTO_IPV6)...)
	}
	slices.SortStableFunc(out, func(a, b baseChain) int { return cmp.Compare(a.priority, b.priority) })
	return out
}

func translatesSource(hook uint32) bool {
	return hook == unix.NF_INET_POST_ROUTING || hook == unix.NF_INET_LOCAL_IN
}

// legacy are the chains of a hook as iptables has them (linux/netfilter_ipv4.h).
func (w *walk) legacy(hook uint32, six bool) (out []baseChain) {
	rules := w.iptables.IPv4
	if six {
		rules = w.iptables.IPv6
	}
	chain := map[uint32]string{
		unix.NF_INET_PRE_ROUTING: "PREROUTING", unix.NF_INET_LOCAL_IN: "INPUT", unix.NF_INET_FORWARD: "FORWARD",
		unix.NF_INET_LOCAL_OUT: "OUTPUT", unix.NF_INET_POST_ROUTING: "POSTROUTING",
	}[hook]
	priorities := map[string]int32{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
	if translatesSource(hook) {
		priorities["nat"] = 100
	}
	for _, t := range rules.Tables {
		priority, known := priorities[t.Name]
		if c := t.Chain(chain); known && c != nil {
			out = append(out, baseChain{priority, t.Name == "nat", translatesSource(hook), func(name string) answer {
				return w.legacySteps(name, six, t.Name, c, iptrace.Run(rules, t.Name, chain, w.packet))
			}})
		}
	}
	return out
}

// hook takes the packet through the chains of a hook of IP.
func (w *walk) hook(name string, hook uint32) {
	family := byte(unix.NFPROTO_IPV4)
	if w.packet.Destination().Is6() {
		family = unix.NFPROTO_IPV6
	}
	w.through(name, hook, w.at(hook, family, unix.NFPROTO_INET))
}

// bridge takes it through those of a hook of family bridge.
func (w *walk) bridge(name string, hook uint32) {
	w.through(name, hook, w.at(hook, unix.NFPROTO_BRIDGE))
}

func (w *walk) through(name string, hook uint32, chains []baseChain) {
	for _, b := range chains {
		if w.ended {
			return
		}
		if b.nat && (b.source && w.nat[1] || !b.source && w.nat[0]) {
			continue
		}
		a := b.run(name)
		w.out.Steps = append(w.out.Steps, a.steps...)
		w.judge(a, b.nat)
		w.apply(a, hook)
	}
}

// steps are those of a chain of nf_tables. Of a chain of others that has nothing to say,
// that is said.
func (w *walk) steps(hook string, t *trace.Table, c *trace.Chain, r trace.Result) answer {
	out := answer{verdict: r.Verdict, to: r.To, doubt: r.Doubt}
	for _, v := range r.Visits {
		s := facts.TraceStep{
			Hook: hook, Table: v.Table.String(), Chain: v.Chain.Name, Verdict: v.Verdict, Doubt: v.Doubt, Ours: ours(v), Rows: w.known.rows(v),
		}
		if v.Rule != nil {
			s.Rule, s.Comment = v.Table.Text(v.Rule), v.Rule.Comment
		}
		out.steps = append(out.steps, s)
	}
	if len(r.Visits) == 0 && t.Name != table {
		out.steps = append(out.steps, facts.TraceStep{Hook: hook, Table: t.String(), Chain: c.Name, Verdict: "no rule matches"})
	}
	out.decide(func(s facts.TraceStep) string { return wayOut(s.Comment) })
	return out
}

// legacySteps are those of a chain of iptables.
func (w *walk) legacySteps(hook string, six bool, name string, c *ruleset.Chain, r iptrace.Result) answer {
	command := "iptables -t "
	if six {
		command = "ip6tables -t "
	}
	out := answer{verdict: r.Verdict, to: r.To, doubt: r.Doubt}
	comment := ""
	for _, v := range r.Visits {
		s := facts.TraceStep{
			Hook: hook, Table: command + name, Chain: v.Chain, Verdict: v.Verdict, Doubt: v.Doubt, Ours: v.Rule != nil && trace.OursByName(v.Chain, v.Verdict),
		}
		if v.Rule != nil {
			s.Rule = v.Rule.String()
			s.Rows = w.known.places[iptables.Place{Table: name, Chain: v.Chain, Rule: s.Rule}]
		}
		comment = commentOf(v.Chain, v.Rule)
		out.steps = append(out.steps, s)
	}
	if len(r.Visits) == 0 && len(c.Rules) > 0 {
		out.steps = append(out.steps, facts.TraceStep{Hook: hook, Table: command + name, Chain: c.Name, Verdict: "no rule matches"})
	}
	out.decide(func(facts.TraceStep) string { return wayOut(comment) })
	return out
}

// decide marks the last step if it is the packet's end, with what can be done about it if
// it is ours.
func (a *answer) decide(way func(facts.TraceStep) string) {
	if len(a.steps) == 0 || !a.dropped() {
		return
	}
	last := &a.steps[len(a.steps)-1]
	if last.Decides = true; last.Ours {
		last.WayOut = way(*last)
	}
}

// judge takes note of rules that may match. One that would do what is done anyway changes
// nothing.
func (w *walk) judge(a answer, isNAT bool) {
	if !a.doubt {
		return
	}
	certain := true
	for _, s := range a.steps {
		switch passes := s.Verdict == "accept" || s.Verdict == "return"; {
		case s.Doubt == "":
		case s.Verdict == "drop" || s.Verdict == "reject":
			w.mayDrop, certain = w.mayDrop || !a.dropped(), false
		case passes && !a.dropped() && !isNAT:
			certain = false
		default:
			w.doubt, certain = true, false
		}
	}
	if certain { // in doubt for another reason: jumps that lead nowhere, rules without end
		w.doubt = true
	}
}

// apply does what a chain decides.
func (w *walk) apply(a answer, hook uint32) {
	switch a.verdict {
	case trace.Drop:
		w.ended, w.out.Outcome = true, facts.OutcomeDropped
	case trace.Reject:
		w.ended, w.out.Outcome = true, facts.OutcomeRejected
	case trace.Queue:
		w.doubt = true
	case trace.TranslateTo, trace.Redirect:
		w.translate(a, hook)
	case trace.TranslateFrom:
		w.nat[1], w.out.From = true, a.to.Addr()
	case trace.Masquerade:
		w.nat[1] = true
		w.out.From = netip.Addr{}
		if to, err := w.host.route(netip.Addr{}, w.packet.Destination(), ""); err == nil {
			w.out.From = to.from
		}
	}
}
