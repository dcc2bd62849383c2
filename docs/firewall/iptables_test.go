package firewall_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

// xrule is one rule of iptables, in its place.
type xrule struct{ table, chain, text string }

// xrules are those of a situation in one family, in order.
func xrules(t *testing.T, s situation, of func(v4, v6 ruleset.Ruleset) ruleset.Ruleset) (out []xrule) {
	t.Helper()
	if len(s.rows) == 0 {
		return nil
	}
	v4, v6, err := iptables.Rulesets(iptables.Options{Off4: s.off4, Off6: s.off6}, s.rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range of(v4, v6).Tables {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				out = append(out, xrule{table.Name, c.Name, printed(r.Rule.String())})
			}
		}
	}
	return out
}

var original = regexp.MustCompile(`(-m conntrack)((?: --ctorigdst \S+)?(?: --ctorigdstport \S+)?)( --ctstate \S+)`)

var quoted = regexp.MustCompile(`"(\[\S+)"`)

// printed is a rule in its canonical form, with its words as iptables-save has them.
func printed(rule string) string {
	rule = quoted.ReplaceAllString(rule, "$1")
	return original.ReplaceAllString(strings.ReplaceAll(rule, "ESTABLISHED,RELATED", "RELATED,ESTABLISHED"), "$1$3$2")
}

func ipv4(v4, _ ruleset.Ruleset) ruleset.Ruleset { return v4 }
func ipv6(_, v6 ruleset.Ruleset) ruleset.Ruleset { return v6 }

// iptablesDifference is the rules that a page adds, and those that it takes away.
func (b *book) iptablesDifference(t *testing.T, p *page) string {
	t.Helper()
	now4, now6 := xrules(t, p.now, ipv4), xrules(t, p.now, ipv6)
	before4, before6 := xrules(t, p.before, ipv4), xrules(t, p.before, ipv6)
	out := b.families(t, "-A", less(now4, before4), less(now6, before6), "")
	return out + b.families(t, "-D", less(before4, now4), less(before6, now6), ", rules that go")
}

func less(a, b []xrule) []xrule {
	return slices.DeleteFunc(slices.Clone(a), func(r xrule) bool { return slices.Contains(b, r) })
}

// iptablesRules is the rules that a pattern matches.
func (b *book) iptablesRules(t *testing.T, p *page, pattern string) string {
	t.Helper()
	about := regexp.MustCompile(pattern)
	others := func(r xrule) bool { return !about.MatchString(r.chain + " " + r.text) }
	return b.families(t, "-A", slices.DeleteFunc(xrules(t, p.now, ipv4), others), slices.DeleteFunc(xrules(t, p.now, ipv6), others), "")
}

// families shows rules of both families, those that both have once.
func (b *book) families(t *testing.T, verb string, four, six []xrule, what string) string {
	t.Helper()
	both := slices.DeleteFunc(slices.Clone(four), func(r xrule) bool { return !slices.Contains(six, r) })
	return code("IPv4 and IPv6 (`iptables-save`, `ip6tables-save`)"+what+":", b.block(t, verb, both)) +
		code("IPv4 (`iptables-save`)"+what+":", b.block(t, verb, less(four, both))) +
		code("IPv6 (`ip6tables-save`)"+what+":", b.block(t, verb, less(six, both)))
}

func (b *book) block(t *testing.T, verb string, rules []xrule) string {
	t.Helper()
	var out strings.Builder
	table, said := "", ""
	for _, r := range rules {
		if r.table != table {
			table, said = r.table, ""
			fmt.Fprintf(&out, "*%s\n", table)
		}
		if s := b.about(t, r); s != said {
			said = s
			fmt.Fprintf(&out, "# %s\n", s)
		}
		fmt.Fprintf(&out, "%s %s %s\n", verb, r.chain, r.text)
	}
	return out.String()
}

// about is what a rule is for.
func (b *book) about(t *testing.T, r xrule) string {
	t.Helper()
	for _, s := range sentences {
		if s.table == r.table && s.chain == r.chain && s.rule.MatchString(r.text) {
			b.used[s] = true
			return s.text
		}
	}
	t.Errorf("%s: nobody says what this is for: sentences in sentences_test.go: -A %s %s", r.table, r.chain, r.text)
	return "?"
}
