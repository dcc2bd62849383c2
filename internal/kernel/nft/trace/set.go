package trace

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/nftables/expr"

	"github.com/linkspan/linkspan/internal/kernel/nft/datatypes"
)

// Set is a set or map.
type Set struct {
	Name string
	// Fields are the sizes in bytes of a concatenation's parts, of which each fills whole
	// words of 4 bytes; one field if it is none.
	Fields    []int
	Types     []datatypes.Type // of the fields; empty if they are not known
	DataTypes []datatypes.Type // those of a map's data, likewise
	Comment   string           // empty if it has none, or was not read
	Interval  bool             // elements are ranges
	Anonymous bool             // it is part of a rule
	Elements  []Element

	exact map[string]int // index of an element by its key, where elements are no ranges
}

// Element of a set. In a set of ranges Key is the first in it: of plain values After is
// the first behind it, empty for none; of concatenations Last is the last in it, field by
// field.
type Element struct {
	Key, After, Last string
	Data             string        // of a map
	Verdict          *expr.Verdict // of a verdict map
	CatchAll         bool          // what no other element has
	Comment          string
}

// width is the length of a key.
func (s *Set) width() (n int) {
	if len(s.Fields) == 1 {
		return s.Fields[0]
	}
	for _, f := range s.Fields {
		n += align(f)
	}
	return n
}

func align(n int) int { return (n + 3) &^ 3 }

// find returns the element that has a key.
func (s *Set) find(key string) (Element, bool) {
	if !s.Interval {
		if s.exact == nil {
			s.exact = make(map[string]int, len(s.Elements))
			for i, e := range s.Elements {
				s.exact[e.Key] = i
			}
		}
		if i, ok := s.exact[key]; ok && !s.Elements[i].CatchAll {
			return s.Elements[i], true
		}
	} else {
		for _, e := range s.Elements {
			if !e.CatchAll && s.holds(e, key) {
				return e, true
			}
		}
	}
	for _, e := range s.Elements {
		if e.CatchAll {
			return e, true
		}
	}
	return Element{}, false
}

// holds tells whether a range has a key.
func (s *Set) holds(e Element, key string) bool {
	if len(s.Fields) == 1 {
		return e.Key <= key && (e.After == "" || key < e.After)
	}
	at := 0
	last := cmp.Or(e.Last, e.Key)
	for _, size := range s.Fields { // every part must be within its own range
		if at+size > min(len(key), len(e.Key), len(last)) {
			return false
		}
		if part := key[at : at+size]; part < e.Key[at:at+size] || part > last[at:at+size] {
			return false
		}
		at += align(size)
	}
	return true
}

// bound is one end of a plain range, as the kernel lists them.
type bound struct {
	Element
	end bool
}

// ranges puts the ends of plain ranges together. One without a second end goes up to the
// last value.
func ranges(bounds []bound) (out []Element) {
	slices.SortStableFunc(bounds, func(a, b bound) int {
		if a.Key == b.Key && a.end != b.end { // one ends where the next starts
			if a.end {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	for i := 0; i < len(bounds); i++ {
		e := bounds[i].Element
		if bounds[i].end {
			continue
		}
		if i+1 < len(bounds) && bounds[i+1].end {
			i++
			e.After = bounds[i].Key
		}
		out = append(out, e)
	}
	return out
}
