package firewall_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/hostfilter"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

// filledBook is all pages, and their text together.
func filledBook(t *testing.T) (*book, string) {
	t.Helper()
	b := readBook(t)
	var all strings.Builder
	for _, p := range b.pages {
		all.WriteString(b.filled(t, p))
	}
	return b, all.String()
}

// TestEveryRuleIsExplained: no rule of the nftables backend, whatever the settings, and no
// chain or set of either is missing from the pages.
func TestEveryRuleIsExplained(t *testing.T) {
	_, text := filledBook(t)
	for file, of := range goldenRulesets {
		for _, table := range model(t, of.options, of.rows).Tables {
			for name := range table.Sets {
				if !strings.Contains(text, "@"+name) && !strings.Contains(text, "`"+name+"`") {
					t.Errorf("%s: no page has set %s of %s", file, name, table)
				}
			}
			for _, c := range table.Chains {
				if len(c.Rules) > 0 && !strings.Contains(text, "chain "+table.String()+" "+c.Name) {
					t.Errorf("%s: no page has chain %s of %s", file, c.Name, table)
				}
				for _, r := range c.Rules {
					if !strings.Contains(text, "# "+r.Comment+"\n") || !strings.Contains(text, "  "+readTexts(t).rules[identity(r)]+"\n") {
						t.Errorf("%s: no page has the rule of %s, chain %s: %s", file, table, c.Name, r.Comment)
					}
				}
			}
		}
	}
	four, six, err := iptables.Rulesets(iptables.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []ruleset.Ruleset{four, six} {
		for _, table := range r.Tables {
			for _, c := range table.Chains {
				if !strings.Contains(text, "-A "+c.Name+" ") && c.Name != hostfilter.UserChain {
					t.Errorf("no page has a rule of chain %s of iptables' table %s", c.Name, table.Name)
				}
			}
		}
	}
	if !strings.Contains(text, "-A "+hostfilter.UserChain+" ") && !strings.Contains(text, "-I "+hostfilter.UserChain+" ") {
		t.Errorf("no page says how %s is used", hostfilter.UserChain)
	}
}

// TestEverySentenceIsUsed: none is left over from rules of another time.
func TestEverySentenceIsUsed(t *testing.T) {
	b, _ := filledBook(t)
	for _, s := range sentences {
		if !b.used[s] {
			t.Errorf("%s %s: no rule of any page matches %s", s.table, s.chain, s.rule)
		}
	}
}

// TestEveryPolicyHasAPage: whatever may be allowed or forbidden occurs in some situation.
func TestEveryPolicyHasAPage(t *testing.T) {
	seen := map[string]bool{}
	name := func(r desired.Row) string { first, _, _ := strings.Cut(r.Key().Name, " "); return first }
	for _, p := range readBook(t).pages {
		for _, row := range p.now.rows {
			seen[name(row)] = true
		}
	}
	for _, row := range desired.Types() {
		if row.Key().Kind == desired.KindPolicy && !seen[name(row)] {
			t.Errorf("no page has a %T: write one about it", row)
		}
	}
}

// TestDrawingsAreWhole: the index has every chain of both backends.
func TestDrawingsAreWhole(t *testing.T) {
	index := readBook(t).page(t, "README").text
	has := func(chain string) {
		t.Helper()
		if !regexp.MustCompile(`(^|[^\w-])` + chain + `($|[^\w-])`).MatchString(index) {
			t.Errorf("README does not draw chain %s", chain)
		}
	}
	for _, of := range goldenRulesets {
		for _, table := range model(t, of.options, of.rows).Tables {
			for _, c := range table.Chains {
				has(c.Name)
			}
		}
	}
	four, six, err := iptables.Rulesets(iptables.Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range slices.Concat(four.Tables, six.Tables) {
		for _, c := range table.Chains {
			has(c.Name)
		}
	}
}

// command is an example of iptables in the text of a page.
var command = regexp.MustCompile(`(?m)^    ip6?tables (?:-t \w+ )?-[IA] \S+ (.*?)( +#.*)?$`)

// TestRecipesAreRules: what the pages advise is what iptables takes.
func TestRecipesAreRules(t *testing.T) {
	found := 0
	for _, p := range readBook(t).pages {
		for _, m := range command.FindAllStringSubmatch(p.text, -1) {
			found++
			if r, err := ruleset.ParseRule(m[1]); err != nil || r.Target == "" {
				t.Errorf("%s: %s: %v", p.name, m[0], err)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d commands: the test does not see them", found)
	}
}
