package nft

import (
	"maps"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// Model returns the tables that policy rows come to, with the very expressions that are
// sent to the kernel, as the packet tracer reads them; elements are in order. It is pure.
// Of the options Instance, Off4, Off6, Beside and Held count. Its error joins those of rows that
// cannot be rendered.
func Model(o Options, rows []desired.Row) (trace.Ruleset, error) {
	elements, _, err := wanted(rows)
	if err != nil {
		return trace.Ruleset{}, err
	}
	var out trace.Ruleset
	s := shape{instance: o.Instance, off4: o.Off4, off6: o.Off6, beside: o.Beside, held: o.Held}.of(rows)
	for _, t := range s.tables() {
		if t.gone {
			continue
		}
		table := &trace.Table{Family: t.family, Name: t.name, Comment: t.comment, Sets: map[string]*trace.Set{}}
		for _, s := range t.sets {
			table.Sets[s.name] = modelSet(s, elements[s.name])
		}
		for _, c := range t.chains {
			table.Chains = append(table.Chains, modelChain(c))
		}
		out.Tables = append(out.Tables, table)
	}
	return out, nil
}

func modelSet(s set, elements map[element]bool) *trace.Set {
	out := &trace.Set{Name: s.name, Comment: s.comment, Interval: s.interval, Types: s.key, DataTypes: s.data}
	for _, k := range s.key {
		out.Fields = append(out.Fields, k.Size())
	}
	for _, e := range slices.SortedFunc(maps.Keys(elements), byKey) {
		out.Elements = append(out.Elements, trace.Element{Key: e.key, After: e.after, Last: e.last, Data: e.data})
	}
	return out
}

func modelChain(c chain) *trace.Chain {
	out := &trace.Chain{Name: c.name}
	if c.base.kind != "" {
		out.Base = &trace.Base{Type: c.base.kind, Hook: c.base.hook, Priority: c.base.priority}
	}
	for _, r := range c.rules {
		out.Rules = append(out.Rules, trace.Rule{Comment: r.comment, Exprs: r.exprs})
	}
	return out
}
