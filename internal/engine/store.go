package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// Store keeps the model. Others may write it, too: every commit says on what it is
// based.
type Store interface {
	// Load returns what was committed last.
	Load(ctx context.Context) (*state.Snapshot, error)
	// Commit writes the changes that lead from a base to a later revision, all or
	// none, durably. If the store is not at the base, the error is a *state.Stale.
	Commit(ctx context.Context, commit state.Commit) error
	// Watch tells of every commit from now on, in order, the caller's own among them.
	// Several may come as one. The channel is closed when ctx ends.
	Watch(ctx context.Context) <-chan state.Commit
}

// maxStale is how often a turn, or an undo, begins anew because somebody else was
// faster.
const maxStale = 16

// save stores the changes that lead to a snapshot.
func (e *Engine) save(ctx context.Context, next *state.Snapshot, changes []state.Change) error {
	if err := e.options.Store.Commit(ctx, state.Commit{Base: e.stored, Revision: next.Revision, Changes: changes}); err != nil {
		return err
	}
	e.stored = next.Revision
	return nil
}

// takeBack stores the records as they were, except those that others have changed
// since.
func (e *Engine) takeBack(ctx context.Context, changes []state.Change) error {
	back, base := state.Invert(changes), e.stored
	for range maxStale {
		err := e.options.Store.Commit(ctx, state.Commit{Base: base, Revision: base + 1, Changes: back})
		var stale *state.Stale
		if !errors.As(err, &stale) {
			if err == nil && !e.behind {
				e.stored++
			}
			return err
		}
		theirs, err := e.options.Store.Load(ctx)
		if err != nil {
			return err
		}
		base, e.behind = theirs.Revision, true
		back = unchanged(theirs, back)
	}
	return errors.New("others change the store all the time")
}

// unchanged returns those changes whose records are in a snapshot as they begin.
func unchanged(s *state.Snapshot, changes []state.Change) []state.Change {
	var out []state.Change
	for _, c := range changes {
		if sameRecord(s.Record(c.Kind, c.ID), c.Old) {
			out = append(out, c)
		}
	}
	return out
}

// sameRecord compares records as they are written: what is empty and what is not
// there is the same.
func sameRecord(a, b any) bool {
	rawA, errA := json.Marshal(a)
	rawB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(rawA, rawB)
}

// heard makes the model follow a commit, between two turns.
func (e *Engine) heard(ctx context.Context, c state.Commit) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	e.follows(ctx, c)
	e.rebase(ctx)
}

// follows makes the model follow a commit. Of the engine's own there is nothing to
// follow.
func (e *Engine) follows(ctx context.Context, c state.Commit) {
	switch {
	case c.Revision <= e.stored:
	case c.Base > e.stored: // one was missed
		e.behind = true
	default:
		next, changes := e.Snapshot().Follow(c)
		e.adopt(ctx, next, changes, plan.Owners(changes, e.options.Networks.Drivers))
	}
}

// rebase follows what others have stored, if it is known that they have: what they
// have committed, or if that was not heard of, all that there is.
func (e *Engine) rebase(ctx context.Context) {
	if !e.behind {
		return
	}
	select {
	case c := <-e.commits:
		e.follows(ctx, c)
	default:
	}
	if !e.behind {
		return
	}
	theirs, err := e.options.Store.Load(ctx)
	if err != nil {
		e.options.Logger.Error("what others have stored cannot be read", "op", "engine.rebase", "err", err)
		return
	}
	changes := state.Diff(e.Snapshot(), theirs)
	e.options.Logger.Warn("somebody else has changed the store", "op", "engine.rebase", "revision", theirs.Revision, "records", len(changes))
	// Ops touch the records of all whose rows change; a difference does not.
	owners := append(plan.Owners(changes, e.options.Networks.Drivers), plan.All(theirs, e.options.Networks.Drivers)...)
	slices.Sort(owners)
	e.adopt(ctx, theirs, changes, slices.Compact(owners))
}

// adopt makes the kernel follow a model that is stored already.
func (e *Engine) adopt(ctx context.Context, model *state.Snapshot, changes []state.Change, owners []desired.Owner) {
	e.stored, e.behind = model.Revision, false
	next := *e.now.Load()
	next.snapshot = model
	known, gone := forget(next.facts, changes)
	next.facts = known
	if err := e.follow(ctx, next, owners); err != nil {
		e.options.Logger.Error("what others have stored cannot be planned", "op", "engine.adopt", "err", err)
	}
	e.asker.forget(gone)
}
