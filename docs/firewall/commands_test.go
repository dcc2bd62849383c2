package firewall_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/kernel/iptables"
	"github.com/linkspan/linkspan/internal/kernel/nft"
)

// firewall is as much of a backend as this needs.
type firewall interface {
	Resync(context.Context, []desired.Row) (desired.Report, error)
}

// TestCommandsAgree has both backends write each situation for real: nft and iptables-save
// print what the pages have.
func TestCommandsAgree(t *testing.T) {
	n := namespaces.New(t)
	for _, p := range readBook(t).pages {
		if len(p.now.rows) == 0 {
			continue
		}
		both := open(t, n, p)
		written(t, both[0], p)
		differ(t, p.name+": nft list ruleset", elementsOf(t, p), listed(n.NFT("list", "ruleset")))
		written(t, both[1], p)
		differ(t, p.name+": iptables-save", lines(xrules(t, p.now, ipv4)), saved(n.Run("iptables-save")))
		differ(t, p.name+": ip6tables-save", lines(xrules(t, p.now, ipv6)), saved(n.Run("ip6tables-save")))
		n.NFT("flush", "ruleset")
	}
}

// open makes both backends of a namespace, that of nftables first.
func open(t *testing.T, n *namespaces.Namespace, p *page) []firewall {
	t.Helper()
	o := options(p.now)
	o.NetNS = n.FD()
	tables, err := nft.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tables.Close() })
	chains, err := iptables.New(t.Context(), iptables.Options{Off4: p.now.off4, Off6: p.now.off6, Enter: func(f func() error) (err error) {
		n.Do(func() error { err = f(); return nil })
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chains.Close() })
	return []firewall{tables, chains}
}

func written(t *testing.T, f firewall, p *page) {
	t.Helper()
	if _, err := f.Resync(t.Context(), p.now.rows); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

func differ(t *testing.T, what string, want, got []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("%s does not print what the page has: %s", what, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("%s prints what the page has not: %s", what, line)
		}
	}
}

// elementsOf are "SET ELEMENT" of all sets of a page.
func elementsOf(t *testing.T, p *page) (out []string) {
	t.Helper()
	for _, table := range tables(t, p.now, options(p.now)) {
		for name, s := range table.Sets {
			for _, e := range s.Elements {
				out = append(out, name+" "+elementText(s, e))
			}
		}
	}
	return out
}

// listed are the same from what nft lists, without counters.
func listed(ruleset string) (out []string) {
	counter := regexp.MustCompile(` counter packets \d+ bytes \d+`)
	for _, m := range regexp.MustCompile(`(?s)(?:set|map) (\w+) \{([^}]*?)elements = \{([^}]*)\}`).FindAllStringSubmatch(ruleset, -1) {
		for _, e := range strings.Split(m[3], ",") {
			out = append(out, m[1]+" "+counter.ReplaceAllString(strings.TrimSpace(e), ""))
		}
	}
	return out
}

func lines(rules []xrule) (out []string) {
	for _, r := range rules {
		out = append(out, r.table+" "+r.chain+" "+r.text)
	}
	return out
}

// saved are "TABLE CHAIN RULE" of what iptables-save prints.
func saved(text string) (out []string) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
		}
		if rule, ok := strings.CutPrefix(line, "-A "); ok {
			out = append(out, table+" "+rule)
		}
	}
	return out
}

// example is a command in a block of its own, and what it prints.
var example = regexp.MustCompile("(?s)```\n# ((?:nft|iptables) [^\n]*)\n(.*?)\n```")

// TestExamplesAreTrue: commands print what the pages say, but for blanks.
func TestExamplesAreTrue(t *testing.T) {
	n := namespaces.New(t)
	found := 0
	for _, p := range readBook(t).pages {
		for _, m := range example.FindAllStringSubmatch(p.text, -1) {
			found++
			n.NFT("flush", "ruleset")
			for _, f := range open(t, n, p) {
				written(t, f, p)
			}
			if got, want := squeezed(n.Run("sh", "-c", m[1])), squeezed(m[2]); got != want {
				t.Errorf("%s: %s prints\n%s\nthe page has\n%s", p.name, m[1], got, want)
			}
		}
	}
	if found < 4 {
		t.Errorf("%d examples: the test does not see them", found)
	}
}

// squeezed is lines with single blanks, and protocols by name, whether or not this
// iptables has numbers for them.
func squeezed(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		out = append(out, strings.NewReplacer(" 6 -- ", " tcp -- ", " 0 -- ", " all -- ").Replace(line))
	}
	return strings.Join(out, "\n")
}

// TestRecipesAreTaken runs what the pages advise.
func TestRecipesAreTaken(t *testing.T) {
	n := namespaces.New(t)
	n.Run("iptables", "-N", "DOCKER-USER")
	n.Run("ip6tables", "-N", "DOCKER-USER")
	recipe := regexp.MustCompile(`(?m)^    ((?:ip6?tables|nft) -?\w.*)$`)
	found := 0
	for _, p := range readBook(t).pages {
		for _, m := range recipe.FindAllStringSubmatch(p.text, -1) {
			found++
			n.Run("sh", "-c", "nft 'add table inet mine; add chain inet mine forward { type filter hook forward priority filter - 1; }'; "+m[1])
		}
	}
	if found < 12 {
		t.Errorf("%d commands: the test does not see them", found)
	}
}
