package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
)

// maxNamed bounds how many rules of one chain a report names one by one.
const maxNamed = 3

// repair is what is wrong with the rules of one family, and the commands that put it
// right.
type repair struct {
	family int
	want   map[place][]entry
	causes map[entry]int // the deltas that want rules, where one does
	script script
	stand  standing
	drift  []string
	lost   bool // a chain or a jump was missing
	found  bool // a chain of ours was there
	made   bool // a chain was missing
	gone   []entry
}

// compare finds what differs between what is wanted and what is there.
func compare(family int, want map[place][]entry, causes map[entry]int, seen ruleset.Ruleset) *repair {
	r := &repair{family: family, want: want, causes: causes, script: script{}, stand: standing{}}
	own := ownChains(family)
	for _, name := range tablesInOrder() {
		table := seen.Table(name)
		if name == tableFilter && table.Chain(chainUser) == nil {
			r.note(place{family, name, chainUser}, "missing")
			r.create(name, chainUser)
		}
		for _, chain := range own[name] {
			r.chain(place{family, name, chain}, table.Chain(chain))
		}
		for _, chain := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
			r.base(place{family, name, chain}, table.Chain(chain))
		}
		r.strays(name, table, own[name])
	}
	if !r.found { // one line says as much as all of them
		r.drift = []string{commandName(family) + ": all chains of ours: missing"}
	}
	return r
}

func (r *repair) note(p place, format string, args ...any) {
	r.drift = append(r.drift, fmt.Sprintf("%s: %s", p, fmt.Sprintf(format, args...)))
}

func (r *repair) create(table, chain string) {
	t := r.script.table(table)
	t.create = append(t.create, command{"-N " + chain, noDelta})
	r.lost, r.made = true, true
}

// chain compares one that is ours as a whole.
func (r *repair) chain(p place, seen *ruleset.Chain) {
	want := r.want[p]
	if seen == nil {
		r.note(p, "missing")
		r.create(p.table, p.chain)
		r.insert(want)
		return
	}
	r.found = true
	kept, extra := match(want, seen)
	missing := slices.DeleteFunc(slices.Clone(want), func(e entry) bool { return slices.Contains(kept, e) })
	if !slices.IsSortedFunc(kept, func(a, b entry) int { return a.class - b.class }) {
		r.note(p, "rules in another order")
		t := r.script.table(p.table)
		t.remove = append(t.remove, command{"-F " + p.chain, noDelta})
		r.insert(want)
		return
	}
	for _, e := range kept {
		r.stand.add(e, 1)
	}
	r.missing(p, missing)
	t := r.script.table(p.table)
	for n, i := range slices.Backward(extra) { // by number: not every rule can be written as it reads
		t.remove = append(t.remove, command{fmt.Sprintf("-D %s %d", p.chain, i+1), noDelta})
		if n < maxNamed {
			r.note(p, "%s: not ours", seen.Rules[i].Rule)
		}
	}
	if more := len(extra) - maxNamed; more > 0 {
		r.note(p, "%d more rules that are not ours", more)
	}
}

// match pairs the rules that are there with those that are wanted, each once.
func match(want []entry, seen *ruleset.Chain) (kept []entry, extra []int) {
	open := map[string]entry{}
	for _, e := range want {
		open[e.rule] = e
	}
	for i, l := range seen.Rules {
		text := l.Rule.String()
		e, ok := open[text]
		if !ok {
			extra = append(extra, i)
			continue
		}
		delete(open, text)
		kept = append(kept, e)
	}
	return kept, extra
}

// missing has rules put that are not there.
func (r *repair) missing(p place, missing []entry) {
	r.gone = append(r.gone, missing...)
	for i, e := range missing {
		if i < maxNamed {
			r.note(p, "%s: missing", e.rule)
		}
	}
	if more := len(missing) - maxNamed; more > 0 {
		r.note(p, "%d more rules missing", more)
	}
	r.insert(missing)
}

// torn tells whether a chain is missing, or a rule that does not depend on rows.
func (r *repair) torn(fixed map[entry]bool) bool {
	return r.made || slices.ContainsFunc(r.gone, func(e entry) bool { return fixed[e] })
}

func (r *repair) insert(entries []entry) {
	var changes []change
	for _, e := range entries {
		delta := noDelta
		if d, ok := r.causes[e]; ok {
			delta = d
		}
		changes = append(changes, change{e, true, delta})
	}
	r.script.changes(changes, r.stand)
}

// base compares our rules in a chain of the kernel. Whatever else is there is
// others', and stays where it is.
func (r *repair) base(p place, seen *ruleset.Chain) {
	want := map[string]entry{}
	for _, e := range r.want[p] {
		want[e.rule] = e
	}
	var kept []entry
	ordered, last := true, 0
	remove := func(rule string) {
		t := r.script.table(p.table)
		t.remove = append(t.remove, command{"-D " + p.chain + " " + rule, noDelta})
	}
	rules := rulesOf(seen)
	for i, l := range rules {
		rule := l.Rule.String()
		e, ok := want[rule]
		switch {
		case ok && !slices.Contains(kept, e):
			ordered = ordered && e.class >= last && (!p.front() || i == len(kept) || e.class == atEnd && i == len(rules)-1)
			last = e.class
			kept = append(kept, e)
		case ok || isOurs(l.Rule):
			r.note(p, "%s: left over", rule)
			remove(rule)
			ordered = ordered && !ok // of two that are alike the first goes, which stands where it should
		}
	}
	missing := slices.DeleteFunc(slices.Clone(r.want[p]), func(e entry) bool { return slices.Contains(kept, e) })
	r.lost = r.lost || len(missing) > 0
	r.missing(p, missing)
	if !ordered {
		r.note(p, "our rules are not where they belong")
		for _, e := range kept {
			remove(e.rule)
		}
		r.insert(kept)
	}
}

func rulesOf(c *ruleset.Chain) []ruleset.Line {
	if c == nil {
		return nil
	}
	return c.Rules
}

// front tells whether our rules must be the first of the chain, and those at its end the
// last: they are its policy, which is not ours to set.
func (p place) front() bool { return p.table == tableFilter && p.chain == "FORWARD" }

// isOurs tells whether a rule in a chain of the kernel is ours: it bears our mark, or
// jumps to a chain that is.
func isOurs(r ruleset.Rule) bool {
	return r.Comment() == ownComment || ownName(r.Target)
}

// ownName tells whether a chain of that name is ours, in whatever table. What Docker, or
// our other backend, may have left there is taken over.
func ownName(chain string) bool {
	return strings.HasPrefix(chain, "LINKSPAN-") || slices.Contains([]string{
		chainForward, chainAnswers, chainInternal, chainBridge, chainDocker,
		"DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-ISOLATION", "DOCKER-INGRESS", // of Docker alone
	}, chain)
}

// strays removes chains with our names that are not wanted. One that somebody else's
// chain leads to cannot go, and is emptied.
func (r *repair) strays(name string, seen *ruleset.Table, own []string) {
	if seen == nil {
		return
	}
	used := map[string]bool{}
	for _, c := range seen.Chains {
		for _, l := range c.Rules {
			used[l.Rule.Target] = used[l.Rule.Target] || !ownName(c.Name) && !isBase(c.Name)
		}
	}
	t := r.script.table(name)
	for _, c := range seen.Chains {
		switch {
		case !ownName(c.Name) || slices.Contains(own, c.Name):
		case !used[c.Name]:
			r.note(place{r.family, name, c.Name}, "left over")
			t.remove = append(t.remove, command{"-F " + c.Name, noDelta})
			t.finish = append(t.finish, command{"-X " + c.Name, noDelta})
		case len(c.Rules) > 0:
			r.note(place{r.family, name, c.Name}, "rules left over")
			t.remove = append(t.remove, command{"-F " + c.Name, noDelta})
		}
	}
}

// empty leaves out tables in which nothing is to be done.
func (s script) empty() bool {
	maps.DeleteFunc(s, func(_ string, t *tableScript) bool {
		return len(t.create)+len(t.remove)+len(t.insert)+len(t.finish) == 0
	})
	return len(s) == 0
}
