package nft

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/nft/wire"
)

// noDelta marks a change that no delta asked for.
const noDelta = -1

// change is one element to add or delete, for the sake of one delta.
type change struct {
	element element
	add     bool
	delta   int // index of the delta that asked for it
}

// changesOf reduces deltas to the elements in which they differ, in the order
// in which they must be written, and lets members know of them. A row that
// cannot be rendered is returned as a failure; a previous one that cannot be
// was never written.
func (idx index) changesOf(deltas []desired.Delta, members *membership) ([]change, []error) {
	var failures []error
	var out []change
	for i, d := range deltas {
		add, del, err := elementsOf(d)
		if err != nil {
			failures = append(failures, &desired.Failure{Owner: d.Owner, Key: d.Key(), Err: err})
			continue
		}
		for _, e := range del {
			out = append(out, change{e, false, i})
		}
		for _, e := range add {
			out = append(out, change{e, true, i})
		}
	}
	if len(failures) > 0 {
		return nil, failures
	}
	out = slices.DeleteFunc(append(out, members.follow(deltas)...), func(c change) bool {
		_, known := idx[c.element.set] // else another backend has it
		return !known
	})
	return idx.netChanges(out), nil
}

// netChanges leaves out what is deleted and added again, and sorts the rest.
func (idx index) netChanges(changes []change) []change {
	net := map[element]int{}
	for _, c := range changes {
		if c.add {
			net[c.element]++
		} else {
			net[c.element]--
		}
	}
	out := slices.DeleteFunc(changes, func(c change) bool {
		n := net[c.element]
		keep := c.add && n > 0 || !c.add && n < 0
		if keep {
			net[c.element] = 0 // once is enough
		}
		return !keep
	})
	idx.order(out)
	return out
}

func elementsOf(d desired.Delta) (add, del []element, err error) {
	if d.New != nil {
		if add, err = render(d.New); err != nil {
			return nil, nil, err
		}
	}
	if d.Old != nil {
		del, _ = render(d.Old)
	}
	return add, del, nil
}

// order sorts changes so that whichever of them are done, nothing is allowed
// that neither the state before nor the state after allows: what forbids comes
// first, then what no longer allows, then what allows, and what no longer
// forbids last.
func (idx index) order(changes []change) {
	rank := func(c change) int {
		deny := idx[c.element.set].set.deny
		switch {
		case deny && c.add:
			return 0
		case !deny && !c.add:
			return 1
		case !deny:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(rank(a), rank(b)) })
}

func (idx index) message(c change) wire.Message {
	kind := uint16(unix.NFT_MSG_DELSETELEM)
	if c.add {
		kind = unix.NFT_MSG_NEWSETELEM
	}
	return idx[c.element.set].table.element(kind, c.element)
}
