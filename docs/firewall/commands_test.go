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
		o := options(p.now)
		o.NetNS = n.FD()
		tables, err := nft.New(o)
		if err != nil {
			t.Fatal(err)
		}
		written(t, tables, p)
		tables.Close()
		want, got := elementsOf(t, p), listed(n.NFT("list", "ruleset"))
		differ(t, p.name+": nft list ruleset", want, got)

		chains, err := iptables.New(t.Context(), iptables.Options{Off4: p.now.off4, Off6: p.now.off6, Enter: func(f func() error) (err error) {
			n.Do(func() error { err = f(); return nil })
			return err
		}})
		if err != nil {
			t.Fatal(err)
		}
		written(t, chains, p)
		chains.Close()
		differ(t, p.name+": iptables-save", lines(xrules(t, p.now, ipv4)), saved(n.Run("iptables-save")))
		differ(t, p.name+": ip6tables-save", lines(xrules(t, p.now, ipv6)), saved(n.Run("ip6tables-save")))
		n.NFT("flush", "ruleset")
	}
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
