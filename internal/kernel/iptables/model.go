package iptables

import (
	"cmp"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
)

// noDelta marks a change that no delta asked for.
const noDelta = -1

// change is one rule to put or take away, for the sake of one delta.
type change struct {
	entry entry
	add   bool
	delta int // index of the delta that asked for it
}

// wants is the rules that are wanted, each with the rows that want it: several rows may
// come to the same rule. Rows are known by the text of their key.
type wants map[entry]map[string]bool

// wantsOf is what rows come to, the fixed rules included. Rows that cannot be rendered
// are left out and returned as errors.
func wantsOf(fixed []entry, rows []desired.Row) (wants, []error) {
	w := wants{}
	for _, e := range fixed {
		w.put(e, "", true)
	}
	var bad []error
	for _, row := range rows {
		entries, err := render(row)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		for _, e := range entries {
			w.put(e, row.Key().Name, true)
		}
	}
	return w, bad
}

// put has a row want a rule, or no longer. To do so twice is no error.
func (w wants) put(e entry, row string, there bool) {
	if there {
		if w[e] == nil {
			w[e] = map[string]bool{}
		}
		w[e][row] = true
		return
	}
	if delete(w[e], row); len(w[e]) == 0 {
		delete(w, e)
	}
}

// follow takes in deltas and returns the rules that they change. If a row cannot be
// rendered nothing is taken in, and the failures are returned.
func (w wants) follow(deltas []desired.Delta) ([]change, []error) {
	type pair struct{ add, del []entry }
	pairs := make([]pair, len(deltas))
	var failures []error
	for i, d := range deltas {
		if d.New != nil {
			var err error
			if pairs[i].add, err = render(d.New); err != nil {
				failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
			}
		}
		if d.Old != nil {
			pairs[i].del, _ = render(d.Old) // what could not be rendered was never written
		}
	}
	if len(failures) > 0 {
		return nil, failures
	}
	before, cause := map[entry]bool{}, map[entry]int{}
	var touched []entry
	put := func(i int, e entry, there bool) {
		if _, known := before[e]; !known {
			before[e] = w[e] != nil
			touched = append(touched, e)
		}
		cause[e] = i
		w.put(e, deltas[i].Key().Name, there)
	}
	for i, p := range pairs {
		for _, e := range p.del {
			put(i, e, false)
		}
		for _, e := range p.add {
			put(i, e, true)
		}
	}
	var out []change
	for _, e := range touched {
		if now := w[e] != nil; now != before[e] {
			out = append(out, change{e, now, cause[e]})
		}
	}
	return out, nil
}

// forget undoes follow.
func (w wants) forget(deltas []desired.Delta) {
	inverse := make([]desired.Delta, len(deltas))
	for i, d := range slices.Backward(deltas) {
		inverse[len(deltas)-1-i] = d.Invert()
	}
	_, _ = w.follow(inverse)
}

// byPlace returns the wanted rules of every chain, in order.
func (w wants) byPlace() map[place][]entry {
	out := map[place][]entry{}
	for e := range w {
		out[e.place] = append(out[e.place], e)
	}
	for _, list := range out {
		slices.SortFunc(list, inOrder)
	}
	return out
}

func inOrder(a, b entry) int {
	return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.rule, b.rule))
}

// standing counts the rules that stand in each chain, by class.
type standing map[place][]int

func (s standing) add(e entry, n int) {
	for len(s[e.place]) <= e.class {
		s[e.place] = append(s[e.place], 0)
	}
	s[e.place][e.class] += n
}

// around counts the rules of lower classes than e's, and those of higher ones.
func (s standing) around(e entry) (before, after int) {
	for class, n := range s[e.place] {
		switch {
		case class < e.class:
			before += n
		case class > e.class:
			after += n
		}
	}
	return before, after
}
