package nft

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// maxNamed bounds how many elements of one set a report names one by one.
const maxNamed = 3

// repair collects what is wrong with our tables and the messages that put it
// right, in the order in which they must be sent.
type repair struct {
	idx     index
	drift   []string
	frame   []wire.Message // tables, sets, chains, rules
	changes []change       // elements
	lost    bool           // a table or set was missing, so its elements are too
	torn    bool           // so was a chain, or all its rules
}

func (r *repair) note(format string, args ...any) {
	r.drift = append(r.drift, fmt.Sprintf(format, args...))
}

// skeleton compares everything but elements.
func (r *repair) skeleton(t table, seen *seenTable) error {
	if t.gone {
		if seen != nil {
			r.note("%s: left over", t)
			r.frame = append(r.frame, t.delTable())
		}
		return nil
	}
	if why := unusable(t, seen); why != "" {
		r.note("%s: %s", t, why)
		if seen != nil {
			r.frame = append(r.frame, t.delTable())
			clear(seen.sets)
		}
		r.lost = true
		r.frame = append(r.frame, t.newTable())
		r.sets(t, &seenTable{}, false)
		return r.chains(t, &seenTable{}, t.chains)
	}
	bad := r.badChains(t, seen)
	r.flush(t, seen, bad)
	r.sets(t, seen, true)
	return r.chains(t, seen, bad)
}

// unusable says why the table must be made anew: because it is not there, or
// because something in it cannot be changed in place.
func unusable(t table, seen *seenTable) string {
	if seen == nil {
		return "missing"
	}
	if seen.comment != clip(t.comment) {
		return fmt.Sprintf("made by %q", seen.comment)
	}
	for _, s := range t.sets {
		if got := seen.sets[s.name]; got != nil && !sameType(s, got) {
			return fmt.Sprintf("set %s: of another type, or broken", s.name)
		}
	}
	return ""
}

func sameType(want set, got *seenSet) bool {
	return got.key == kindOf(want.key) && got.data == kindOf(want.data) && got.flags == want.flags() &&
		got.counted == want.counted && !got.broken
}

// badChains returns the chains that must be written anew. A chain whose hook is
// wrong cannot be changed in place and may be jumped to, so then it is all of
// them.
func (r *repair) badChains(t table, seen *seenTable) []chain {
	var bad []chain
	all := false
	for _, c := range t.chains {
		got := seen.chains[c.name]
		switch {
		case got == nil:
			r.note("%s: chain %s: missing", t, c.name)
			r.torn = true
		case got.base != c.base || got.policy != policyAccept:
			r.note("%s: chain %s: wrong hook, priority or policy", t, c.name)
			all = true
		case !r.sameRules(t, c, got):
		default:
			continue
		}
		bad = append(bad, c)
	}
	if all {
		return t.chains
	}
	return bad
}

// sameRules notes the first rule that differs: after it, positions have shifted
// and say little.
func (r *repair) sameRules(t table, c chain, got *seenChain) bool {
	r.torn = r.torn || len(got.rules) == 0 && len(c.rules) > 0
	for i, want := range c.rules {
		if i >= len(got.rules) || !sameRule(t.family, want, got.rules[i]) {
			r.note("%s: chain %s: rule %d (%s): missing or changed", t, c.name, i+1, want.comment)
			return false
		}
	}
	if extra := len(got.rules) - len(c.rules); extra > 0 {
		r.note("%s: chain %s: %d rules that are not ours", t, c.name, extra)
		return false
	}
	return true
}

func sameRule(family byte, want rule, got seenRule) bool {
	if got.userdata != string(commentData(want.comment)) {
		return false
	}
	return slices.EqualFunc(want.exprs, got.exprs, func(w expr.Any, g seenExpr) bool {
		return sameExpr(family, w, g)
	})
}

// sameExpr reads what the kernel has as the type that is wanted, because the
// kernel's spelling of an expression differs from ours: it adds defaults.
func sameExpr(family byte, want expr.Any, got seenExpr) bool {
	b, err := marshal(family, want)
	if err != nil {
		return false
	}
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return false
	}
	if spelled, err := decodeExpr(ad); err != nil || spelled.name != got.name {
		return false
	}
	read, ok := reflect.New(reflect.TypeOf(want).Elem()).Interface().(expr.Any)
	return ok && unmarshal(family, got.data, read) == nil && reflect.DeepEqual(read, want)
}

// flush empties the chains that will be written anew and removes those that are
// not ours, or cannot stay as they are.
func (r *repair) flush(t table, seen *seenTable, bad []chain) {
	ours := map[string]base{}
	for _, c := range t.chains {
		ours[c.name] = c.base
	}
	var gone []string
	for name, got := range seen.chains {
		want, known := ours[name]
		if !known {
			r.note("%s: chain %s: not ours", t, name)
		}
		if !known || got.base != want || got.policy != policyAccept {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	emptied := slices.Clone(gone)
	for _, c := range bad {
		if seen.chains[c.name] != nil && !slices.Contains(emptied, c.name) {
			emptied = append(emptied, c.name)
		}
	}
	for _, name := range emptied {
		r.frame = append(r.frame, t.flushChain(name))
	}
	for _, name := range gone {
		r.frame = append(r.frame, t.delChain(name))
		delete(seen.chains, name)
	}
}

// sets creates missing sets and removes those that are not ours.
func (r *repair) sets(t table, seen *seenTable, report bool) {
	ours := map[string]bool{}
	for i, s := range t.sets {
		ours[s.name] = true
		if seen.sets[s.name] != nil {
			continue
		}
		if report {
			r.note("%s: set %s: missing", t, s.name)
			r.lost = true
		}
		r.frame = append(r.frame, t.newSet(s, uint32(i+1)))
	}
	for _, name := range slices.Sorted(maps.Keys(seen.sets)) {
		if !ours[name] && seen.sets[name].flags&unix.NFT_SET_ANONYMOUS == 0 {
			r.note("%s: set %s: not ours", t, name)
			r.frame = append(r.frame, t.delSet(name))
		}
	}
}

func (r *repair) chains(t table, seen *seenTable, bad []chain) error {
	for _, c := range bad {
		if seen.chains[c.name] == nil {
			r.frame = append(r.frame, t.newChain(c))
		}
	}
	for _, c := range bad {
		for _, want := range c.rules {
			m, err := t.newRule(c.name, want)
			if err != nil {
				return fmt.Errorf("%s: chain %s: %w", t, c.name, err)
			}
			r.frame = append(r.frame, m)
		}
	}
	return nil
}

// elements compares one set's elements. Elements are visited in order, so that
// reports are the same each time.
func (r *repair) elements(set string, want, seen map[element]bool) {
	r.differing(set, seen, want, "missing", true)
	r.differing(set, want, seen, "left over", false)
}

// differing notes, and changes, what is in b and not in a.
func (r *repair) differing(set string, a, b map[element]bool, what string, add bool) {
	var found []element
	for e := range b {
		if !a[e] {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, byKey)
	for i, e := range found {
		if i < maxNamed {
			r.note("%s: %s", r.idx.text(e), what)
		}
		r.changes = append(r.changes, change{element: e, add: add, delta: noDelta})
	}
	if more := len(found) - maxNamed; more > 0 {
		r.note("%s: set %s: %d more elements %s", r.idx[set].table, set, more, what)
	}
}

func byKey(a, b element) int { return strings.Compare(a.key, b.key) }
