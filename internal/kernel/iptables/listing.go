package iptables

import (
	"errors"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

// Rulesets returns what policy rows come to in each family, as iptables-save and
// ip6tables-save print it on a host where nobody else has rules, but for chains of the
// kernel that have none; tables are in the order in which they are written. It is pure.
// Of the options Off4 and Off6 count: a family that is off has no tables. Its error joins
// those of rows that cannot be rendered.
func Rulesets(o Options, rows []desired.Row) (ipv4, ipv6 ruleset.Ruleset, err error) {
	want, bad := wantsOf(append(fixed(four), fixed(six)...), rows)
	places := want.byPlace()
	if !o.Off4 {
		ipv4 = rulesetOf(four, places)
	}
	if !o.Off6 {
		ipv6 = rulesetOf(six, places)
	}
	return ipv4, ipv6, errors.Join(bad...)
}

func rulesetOf(family int, places map[place][]entry) (out ruleset.Ruleset) {
	own := ownChains(family)
	own[tableFilter] = append([]string{chainUser}, own[tableFilter]...)
	for _, table := range tablesInOrder() {
		t := &ruleset.Table{Name: table}
		for _, chain := range slices.Concat(baseChains(), own[table]) {
			entries := places[place{family, table, chain}]
			c := &ruleset.Chain{Name: chain}
			if isBase(chain) {
				c.Policy = "ACCEPT"
			}
			for _, e := range entries {
				rule, _ := ruleset.ParseRule(e.rule) // that is how it was made
				c.Rules = append(c.Rules, ruleset.Line{Rule: rule})
			}
			if len(entries) > 0 || !isBase(chain) {
				t.Chains = append(t.Chains, c)
			}
		}
		out.Tables = append(out.Tables, t)
	}
	return out
}
