package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// outcome is what a run of ops made of the model, before anything is done.
type outcome struct {
	next    *state.Snapshot
	facts   facts.Set
	gone    []facts.Fact // of endpoints and networks that are gone or down
	changes []state.Change
	learned []desired.Owner              // who depends on what the ops asked for
	ran     []*request                   // those whose op succeeded
	owners  map[*request][]desired.Owner // whose rows each of them may have changed
	later   []*request                   // those that touch what another of this turn touched
}

// turn runs a batch of ops as one: one commit, one apply. Ops that fail by
// themselves are answered at once; those that the kernel refuses are evicted,
// and the rest runs again without them.
//
// What can fail outside, host ports, is reserved before anything is stored. If one
// is taken, the ops run again and know that it is.
func (e *Engine) turn(ctx context.Context, batch []*request) {
	var tried tries
	for len(batch) > 0 {
		e.rebase(ctx)
		out := e.run(batch, tried)
		if len(out.ran) == 0 {
			return
		}
		refused, err := e.commit(ctx, out)
		var stale *state.Stale
		if errors.As(err, &stale) && tried.stale() {
			e.behind = true
			batch = append(out.ran, out.later...)
			continue
		}
		var held *desired.PortTaken
		if errors.As(err, &held) && tried.again(out, refused, held) {
			batch = append(out.ran, out.later...)
			continue
		}
		var taken *desired.NameTaken
		if errors.As(err, &taken) && tried.renamed(out, refused, taken) {
			batch = append(out.ran, out.later...)
			continue
		}
		if err = e.explain(err, out.next); err != nil {
			batch = append(e.evict(ctx, out, refused, err), out.later...)
			continue
		}
		e.reached("answer")
		e.options.Logger.Debug("turn done", "op", "engine.turn", "ops", len(out.ran), "waiting", len(out.later), "revision", out.next.Revision)
		for _, r := range out.ran {
			r.answer <- answer{out.next, nil}
		}
		batch = out.later
	}
}

// run runs the ops one after the other, each on what the one before left. An op
// that fails leaves nothing. One that touches an owner which an earlier op of
// this turn touched waits for the next: so every row has one op to answer for
// it, and a container that stops and starts again goes through both.
func (e *Engine) run(batch []*request, tried tries) outcome {
	out := outcome{next: e.Snapshot().At(e.stored), facts: e.now.Load().facts, owners: map[*request][]desired.Owner{}}
	touched := map[desired.Owner]bool{}
	for _, r := range batch {
		tx := transaction(e, out, tried, r)
		if err := protect(func() error { return r.op(tx) }); err != nil {
			var missing *facts.Missing
			if errors.As(err, &missing) {
				e.asker.note(missing.Question)
			}
			r.answer <- answer{nil, err}
			continue
		}
		next, changes := tx.Commit()
		known, learned := learn(next, out.facts, r.known)
		known, gone := forget(known, changes)
		owners := union(plan.Owners(changes, e.options.Networks.Drivers), learned)
		again := slices.ContainsFunc(owners, func(o desired.Owner) bool { return touched[o] })
		for _, o := range owners {
			touched[o] = true
		}
		if again {
			out.later = append(out.later, r)
			continue
		}
		out.ran, out.owners[r] = append(out.ran, r), owners
		out.next, out.changes = next, state.Merge(out.changes, changes)
		out.facts, out.learned = known, append(out.learned, learned...)
		out.gone, r.gone = append(out.gone, gone...), nil
		for _, f := range gone {
			r.gone = append(r.gone, f.Owner())
		}
	}
	return out
}

// transaction starts the transaction of an op, on what those before it have left.
func transaction(e *Engine, out outcome, tried tries, r *request) ops.Tx {
	known := tried.known(out.facts.With(r.known...))
	known.Asked = e.asker.openQuestions()
	tx := ops.Begin(out.next, known, e.options.Networks.Drivers)
	tx.Maker, tx.Now = e.options.Networks, time.Now().UTC()
	return tx
}

// protect turns a panic of an op into an error, so that one bad request does
// not take the daemon with it.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = model.Errorf(model.Internal, "op panicked: %v", p)
		}
	}()
	return f()
}

// refusal is an error with the owners whose rows caused it; none if it cannot
// be attributed.
type refusal []desired.Owner

// commit makes store and kernel follow an outcome, and publishes it. If it fails,
// store and kernel are as before.
func (e *Engine) commit(ctx context.Context, out outcome) (refusal, error) {
	next := *e.now.Load()
	next.snapshot, next.facts = out.next, out.facts
	refused, err := e.realise(ctx, next, union(plan.Owners(out.changes, e.options.Networks.Drivers), out.learned), out.changes)
	if err == nil {
		e.asker.forget(out.gone)
	}
	return refused, err
}

// realise plans what owners want of the next view, makes store and kernel follow,
// and publishes it. If it fails, store and kernel are as before. A view with the
// model that there is has no changes, and nothing is stored.
func (e *Engine) realise(ctx context.Context, next view, owners []desired.Owner, changes []state.Change) (refusal, error) {
	before := e.now.Load()
	var err error
	if next.desired, err = e.compile(next, owners); err != nil {
		return nil, err
	}
	deltas := desired.Diff(before.desired, next.desired, owners)
	change := reservationChange(deltas)
	if refused, err := e.ports.reserve(ctx, change); err != nil {
		return refused, err
	}
	e.reached("claim")
	if next.snapshot != before.snapshot {
		if err := e.save(ctx, next.snapshot, changes); err != nil {
			e.ports.undo(ctx, change)
			return nil, fmt.Errorf("store the request: %w", err)
		}
	}
	e.reached("commit")
	if err := e.apply(ctx, deltas, next.desired); err != nil {
		undone := e.undo(ctx, changes, deltas)
		e.ports.undo(ctx, change)
		return attribute(err), errors.Join(err, undone)
	}
	e.ports.release(ctx, change.gone)
	e.reached("apply")
	e.now.Store(&next)
	e.options.Published()
	e.reached("publish")
	return nil, nil
}

// follow plans what owners want of the next view, makes the kernel follow, and
// publishes it. The view is so whether the kernel can follow or not, since it was
// observed: what the kernel refuses it owes.
func (e *Engine) follow(ctx context.Context, next view, owners []desired.Owner) error {
	defer func() { e.now.Store(&next); e.options.Published() }()
	if len(owners) == 0 {
		return nil
	}
	want, err := e.compile(next, owners)
	if err != nil {
		return fmt.Errorf("plan the model: %w", err)
	}
	deltas := desired.Diff(next.desired, want, owners)
	next.desired = want
	change := reservationChange(deltas)
	e.ports.release(ctx, change.early)
	e.ports.regain(ctx, change.fresh)
	if err := e.apply(ctx, deltas, want); err != nil {
		e.options.Logger.Warn("the kernel does not follow what was learned yet", "op", "engine.follow", "err", err)
		e.owed.add(err)
	}
	e.ports.release(ctx, change.gone)
	return nil
}

// compile returns the plan that is published with the rows of owners planned anew
// from a view.
func (e *Engine) compile(v view, owners []desired.Owner) (desired.State, error) {
	if e.options.Compiled != nil {
		e.options.Compiled(len(owners))
	}
	return e.compileWith(v).Update(e.Plan(), owners)
}

// apply lets every hand follow the deltas. A hand that finds more missing than
// they say is given all of next. What changes no rows, such as a container's
// record, asks nothing of them.
func (e *Engine) apply(ctx context.Context, deltas []desired.Delta, next desired.State) error {
	if len(deltas) == 0 {
		return nil
	}
	for _, h := range e.options.Hands {
		err := h.Apply(ctx, deltas)
		if errors.Is(err, desired.ErrLost) {
			e.options.Logger.Warn("more is missing than was asked for, so all is compared", "op", "engine.apply", "err", err)
			_, err = h.Resync(ctx, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// undo applies the previous state. There is no other kind of rollback. If even
// that fails, the model is right and the kernel is late: a resync goes on
// trying.
func (e *Engine) undo(ctx context.Context, changes []state.Change, deltas []desired.Delta) error {
	var failed []error
	if len(changes) > 0 {
		if err := e.takeBack(ctx, changes); err != nil {
			failed = append(failed, fmt.Errorf("take the request back from the store: %w", err))
		}
	}
	back := make([]desired.Delta, len(deltas))
	for i, d := range deltas {
		back[i] = d.Invert()
	}
	for _, h := range slices.Backward(e.options.Hands) {
		err := h.Apply(ctx, back)
		if errors.Is(err, desired.ErrLost) {
			_, err = h.Resync(ctx, e.Plan())
		}
		if err != nil {
			e.owed.add(err)
			failed = append(failed, fmt.Errorf("undo: %w", err))
		}
	}
	return errors.Join(failed...)
}

func attribute(err error) refusal {
	var out refusal
	for _, f := range desired.Failures(err) {
		if !slices.Contains(out, f.Owner) {
			out = append(out, f.Owner)
		}
	}
	return out
}

// evict answers the ops that a refused turn failed for, and returns those that
// are to be run again. What cannot be attributed is retried op by op, so that
// the guilty one is alone when it fails.
func (e *Engine) evict(ctx context.Context, out outcome, refused refusal, err error) []*request {
	if len(out.ran) == 1 {
		out.ran[0].answer <- answer{nil, err}
		return nil
	}
	var rest []*request
	for _, r := range out.ran {
		if touches(out.owners[r], refused) {
			r.answer <- answer{nil, err}
		} else {
			rest = append(rest, r)
		}
	}
	if len(rest) < len(out.ran) {
		return rest
	}
	for _, r := range out.ran {
		e.turn(ctx, []*request{r})
	}
	return nil
}
