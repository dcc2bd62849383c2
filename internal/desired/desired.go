// Package desired holds the nouns the kernel knows (links, addresses, routes,
// policies, names) as rows, each with one owner, and the State that collects
// them.
//
// It is data: a State is immutable, and making the kernel so is the business of
// internal/kernel. Rows are compared by value; a row says only what the engine
// decides, never what the kernel fills in.
package desired

import (
	"cmp"
	"fmt"
	"iter"
	"reflect"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/linkspan/linkspan/internal/model"
)

// Owner names the model object for whose sake a row exists: "network/<id>",
// "endpoint/<id>", "sandbox/<id>", "parent/<interface>" or "tunnel" for what several networks
// share, or "host". Compiling works owner by owner.
type Owner string

// HostOwner owns what the engine needs of the host itself.
const HostOwner Owner = "host"

// OwnerOf returns the owner for an object of the given kind: "network",
// "endpoint", "sandbox" or "parent".
func OwnerOf[T ~string](kind string, id T) Owner { return Owner(kind + "/" + string(id)) }

// Owned is a row with its owner.
type Owned struct {
	Owner Owner
	Row   Row
}

// State is everything wanted of the kernel. The zero value wants nothing.
// States share structure: replacing one owner's rows costs the same whatever
// else is in them.
type State struct {
	rows   *iradix.Tree[Owned] // by Key
	owners *iradix.Tree[Key]   // by owner and Key
}

// Replace returns a State in which owner wants exactly rows. It fails with a
// conflict if another owner already wants one of them.
func (s State) Replace(owner Owner, rows []Row) (State, error) {
	if s.rows == nil {
		s.rows, s.owners = iradix.New[Owned](), iradix.New[Key]()
	}
	r, o := s.rows.Txn(), s.owners.Txn()
	prefix := ownerKey(owner, Key{})[:len(owner)+1]
	s.owners.Root().WalkPrefix(prefix, func(_ []byte, k Key) bool {
		r.Delete(rowKey(k))
		return false
	})
	o.DeletePrefix(prefix)
	for _, row := range rows {
		k := row.Key()
		if prev, taken := r.Insert(rowKey(k), Owned{owner, row}); taken {
			return State{}, &model.Error{
				Op: "plan.compile", Kind: model.Conflict, Subject: string(owner),
				Err: fmt.Errorf("%s: wanted by %s and by %s", k.Name, prev.Owner, owner),
			}
		}
		o.Insert(ownerKey(owner, k), k)
	}
	return State{r.Commit(), o.Commit()}, nil
}

// Get returns the row with key k.
func (s State) Get(k Key) (Owned, bool) {
	if s.rows == nil {
		return Owned{}, false
	}
	return s.rows.Get(rowKey(k))
}

// All yields every row, ordered by kind as Kinds is and then by name.
func (s State) All() iter.Seq[Owned] { return s.walk(nil) }

// Kind yields the rows of one kind, ordered by name.
func (s State) Kind(k Kind) iter.Seq[Owned] { return s.walk([]byte{byte(k.Rank())}) }

// Owned yields the rows of one owner, ordered by kind and then by name.
func (s State) Owned(owner Owner) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		if s.owners == nil {
			return
		}
		s.owners.Root().WalkPrefix(ownerKey(owner, Key{})[:len(owner)+1], func(_ []byte, k Key) bool {
			row, _ := s.Get(k)
			return !yield(row.Row)
		})
	}
}

// Owners yields every owner that wants something, in order.
func (s State) Owners() iter.Seq[Owner] {
	return func(yield func(Owner) bool) {
		if s.owners == nil {
			return
		}
		var last Owner
		s.owners.Root().Walk(func(raw []byte, _ Key) bool {
			owner := Owner(raw[:strings.IndexByte(string(raw), 0)])
			if owner == last {
				return false
			}
			last = owner
			return !yield(owner)
		})
	}
}

// Len counts the rows.
func (s State) Len() int {
	if s.rows == nil {
		return 0
	}
	return s.rows.Len()
}

// String prints every row on a line of its own, behind its owner.
func (s State) String() string {
	var b strings.Builder
	for o := range s.All() {
		fmt.Fprintf(&b, "%s\t%s\n", o.Owner, model.Printable(fmt.Sprint(o.Row)))
	}
	return b.String()
}

func (s State) walk(prefix []byte) iter.Seq[Owned] {
	return func(yield func(Owned) bool) {
		if s.rows == nil {
			return
		}
		s.rows.Root().WalkPrefix(prefix, func(_ []byte, o Owned) bool { return !yield(o) })
	}
}

func rowKey(k Key) []byte { return append([]byte{byte(k.Kind.Rank())}, k.Name...) }

func ownerKey(o Owner, k Key) []byte {
	return append(append([]byte(o), 0), rowKey(k)...)
}

// Delta is one difference between two states. Old is nil for a new row, New is
// nil for one that is no longer wanted.
type Delta struct {
	Owner    Owner
	Old, New Row
}

// Key returns the key of whichever row there is.
func (d Delta) Key() Key { return d.row().Key() }

// Space returns the network namespace of whichever row there is.
func (d Delta) Space() string { return d.row().Space() }

func (d Delta) row() Row { return cmp.Or(d.New, d.Old) }

// Invert returns the delta that undoes d.
func (d Delta) Invert() Delta { return Delta{d.Owner, d.New, d.Old} }

// Wanted returns the rows that deltas want.
func Wanted(deltas []Delta) (out []Row) {
	for _, d := range deltas {
		if d.New != nil {
			out = append(out, d.New)
		}
	}
	return out
}

// Diff returns what turns prev into next, looking only at the rows of the given
// owners, which must be all that changed. A row that moved from one owner to
// another counts as changed.
func Diff(prev, next State, owners []Owner) []Delta {
	var out []Delta
	for _, owner := range owners {
		for row := range next.Owned(owner) {
			old, there := prev.Get(row.Key())
			switch {
			case !there:
				out = append(out, Delta{owner, nil, row})
			case old.Owner != owner || !reflect.DeepEqual(old.Row, row):
				out = append(out, Delta{owner, old.Row, row})
			}
		}
		for row := range prev.Owned(owner) {
			if _, there := next.Get(row.Key()); !there {
				out = append(out, Delta{owner, row, nil})
			}
		}
	}
	return out
}
