package engine

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/linkspan/linkspan/internal/desired"
)

// debt is rows that are planned and that the kernel does not have yet, or has and
// should not: it refused them, and they could not be taken back. Only the turn makes
// and settles one.
type debt struct {
	err error
	// owners are whose rows. If it is not known of all, it may be anybody's.
	owners  []desired.Owner
	anybody bool
	settled chan struct{} // closed when this is no longer what is owed
}

// touches tells whether rows of owners may be among what is owed; without owners,
// whether any are.
func (d *debt) touches(owners []desired.Owner) bool {
	return d != nil && (d.anybody || len(owners) == 0 || slices.ContainsFunc(owners, func(o desired.Owner) bool { return slices.Contains(d.owners, o) }))
}

// Await returns once the rows that owners want now are applied, those of all owners
// if none is given. Who called Do or Learn with success has what it asked for and need
// not wait; but a kernel may be late, since it could not follow the host's facts, what
// others stored, or an undo. If ctx ends first, the error says what is refused.
func (e *Engine) Await(ctx context.Context, owners ...desired.Owner) error {
	for {
		d := e.owed.now.Load()
		if !d.touches(owners) {
			return nil
		}
		select {
		case <-d.settled:
		case <-ctx.Done():
			return fmt.Errorf("%w: the kernel does not follow yet: %w", ctx.Err(), d.err)
		case <-e.done:
			return closed()
		}
	}
}

// owed is what the kernel owes at the moment. Readers load it; only the turn changes
// it.
type owed struct{ now atomic.Pointer[debt] }

// add notes what the kernel refused, beside what it owes already. A resync goes on
// trying.
func (o *owed) add(err error) {
	next := debtOf(err)
	if old := o.now.Load(); old != nil {
		next.owners, next.anybody = union(next.owners, old.owners), next.anybody || old.anybody
	}
	o.replace(next)
}

// settle notes the outcome of a resync, which compared all there is.
func (o *owed) settle(err error) {
	if err == nil {
		o.replace(nil)
		return
	}
	o.replace(debtOf(err))
}

func (o *owed) replace(next *debt) {
	if old := o.now.Swap(next); old != nil {
		close(old.settled)
	}
}

// late tells whether the kernel owes anything.
func (o *owed) late() bool { return o.now.Load() != nil }

func debtOf(err error) *debt {
	d := &debt{err: err, settled: make(chan struct{})}
	d.owners, d.anybody = blamed(err)
	return d
}

// blamed returns whose rows an error is about, and whether some of it is about
// nobody's that is known.
func blamed(err error) (owners []desired.Owner, anybody bool) {
	switch err := err.(type) {
	case nil:
		return nil, false
	case *desired.Failure:
		return []desired.Owner{err.Owner}, err.Owner == ""
	case interface{ Unwrap() error }:
		return blamed(err.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range err.Unwrap() {
			more, unknown := blamed(one)
			owners, anybody = union(owners, more), anybody || unknown
		}
		return owners, anybody
	}
	return nil, true
}
