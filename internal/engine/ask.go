package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Source finds out what an op must know and nobody knows yet, and may take its
// time: a DHCP client, a plugin. An op that cannot go on fails with *facts.Missing;
// it is asked outside the queue, where nobody but the caller of Do waits for it, and
// the op runs again with the answer in tx.Facts().
type Source interface {
	// Ask answers a question with a fact about its owner. It ends with ctx. Asked
	// again about an owner, it may give the same answer.
	Ask(ctx context.Context, q facts.Question) (facts.Fact, error)
	// Return gives back what nobody needs, or needs any more. What was not given, or
	// was returned before, is success. kept is what stays known of the same owner, in
	// the place of which f was said; nil if nothing does.
	Return(ctx context.Context, f, kept facts.Fact) error
	// Answers returns what was given and not returned, also to a daemon that was here
	// before. It asks nobody outside.
	Answers(ctx context.Context) ([]facts.Fact, error)
}

const (
	// askTimeout bounds one question, and one return. Docker's plugins have as long.
	askTimeout = 30 * time.Second
	// maxQuestions bounds what one op may ask.
	maxQuestions = 64
	// returnPatience is how long a caller waits until what his op gave up is given back,
	// so that he sees it done. Afterwards it goes on without him.
	returnPatience = 5 * time.Second
)

// asker asks a source, about each owner for one op at a time.
type asker struct {
	source  Source // nil: nobody knows anything
	timeout time.Duration
	log     *slog.Logger
	known   func(facts.Owner) facts.Fact // what the engine knows of an owner
	// bounded returns what bounds a return: time, and the engine's own end.
	bounded func() (context.Context, context.CancelFunc)

	returns sync.WaitGroup
	mu      sync.Mutex // guards what follows
	closed  bool
	busy    map[facts.Owner]*held
	open    map[facts.Owner]facts.Question // without an answer that took effect, or did not
}

// held is an owner that somebody asks about, or whose answer is given back.
type held struct {
	over  chan struct{} // closed when it is nobody's any more
	spare []facts.Fact  // to be returned then, except what the engine knows
}

// asking is what one op has asked so far.
type asking struct {
	*asker
	owners    []facts.Owner // that are held
	answers   []facts.Fact  // of an owner the last
	questions []facts.Question
	noted     []facts.Owner // of all questions
	seen      []facts.Owner // about whom something was known by the time
}

// more asks for what an op misses, and tells whether to run it once more. Otherwise
// the error is what its caller is told.
func (a *asking) more(ctx context.Context, err error) (bool, error) {
	var missing *facts.Missing
	if !errors.As(err, &missing) {
		return false, err
	}
	q := missing.Question
	owner := q.Owner()
	a.noted = append(a.noted, owner)
	if a.source == nil || len(a.questions) == maxQuestions || a.askedAlready(q) {
		return false, &model.Error{Op: "engine.ask", Kind: model.Unavailable, Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("no answer within %s", a.timeout))
	defer cancel()
	err = nil
	waited := false
	if !slices.Contains(a.owners, owner) {
		waited, err = a.hold(ctx, owner)
		if err == nil && !waited && a.learned(q) {
			return true, nil
		}
		if err == nil && !waited {
			a.owners = append(a.owners, owner)
		}
	}
	if err == nil && !waited { // otherwise it may be known by now
		a.questions = append(a.questions, q)
		err = a.ask(ctx, q)
	}
	if err != nil {
		return false, &model.Error{Op: "engine.ask", Subject: string(owner), Kind: model.KindOf(err), Err: err}
	}
	return true, nil
}

// askedAlready tells whether the last question about the same owner was this one: its
// answer did not help.
func (a *asking) askedAlready(q facts.Question) bool {
	for _, before := range slices.Backward(a.questions) {
		if before.Owner() == q.Owner() {
			return reflect.DeepEqual(before, q)
		}
	}
	return false
}

// learned lets an owner go again about whom something is known: somebody else's answer
// may have come after the op ran and before it was this one's turn to ask. An op that
// misses it all the same does ask.
func (a *asking) learned(q facts.Question) bool {
	owner := q.Owner()
	if q.Outward != nil || a.known(owner).Empty() || slices.Contains(a.seen, owner) {
		return false
	}
	a.seen = append(a.seen, owner)
	a.let(owner)
	return true
}

// ask asks one question. The answer is to spare until the engine knows it.
func (a *asking) ask(ctx context.Context, q facts.Question) error {
	answer, err := a.source.Ask(ctx, q)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case err != nil:
		return err
	}
	if answer.Owner() != q.Owner() {
		a.spare(q.Owner(), answer)
		return fmt.Errorf("asked about %s, the answer is about %s", q.Owner(), answer.Owner())
	}
	a.answers = slices.DeleteFunc(a.answers, func(f facts.Fact) bool { return f.Owner() == answer.Owner() })
	a.answers = append(a.answers, answer)
	return nil
}

// spare notes what is to be returned when an owner is let go.
func (a *asker) spare(owner facts.Owner, f facts.Fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy[owner].spare = append(a.busy[owner].spare, f)
}

// end lets go of the owners once the op has taken effect, or has not. What it asked for
// in vain is given back, for which the caller waits a little.
func (a *asking) end(ctx context.Context) {
	a.closeQuestions(a.noted)
	for _, answer := range a.answers {
		a.spare(answer.Owner(), answer)
	}
	var over []chan struct{}
	for _, owner := range a.owners {
		over = append(over, a.overOf(owner))
		a.let(owner)
	}
	await(ctx, over)
}

// note has other ops know what is asked for.
func (a *asker) note(q facts.Question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open[q.Owner()] = q
}

func (a *asker) closeQuestions(owners []facts.Owner) {
	if len(owners) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, owner := range owners {
		delete(a.open, owner)
	}
}

// openQuestions returns what is asked for by all ops.
func (a *asker) openQuestions() []facts.Question {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.open))
}

// overOf returns what is closed when an owner is nobody's any more; nil if he is
// nobody's.
func (a *asker) overOf(owner facts.Owner) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h, busy := a.busy[owner]; busy {
		return h.over
	}
	return nil
}

// returned waits until what an op gave up is given back.
func (a *asker) returned(ctx context.Context, gone []facts.Owner) {
	var over []chan struct{}
	for _, owner := range gone {
		over = append(over, a.overOf(owner))
	}
	await(ctx, over)
}

// await waits for all that are not nil, for returnPatience in all.
func await(ctx context.Context, all []chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, returnPatience)
	defer cancel()
	for _, over := range all {
		if over == nil {
			continue
		}
		select {
		case <-over:
		case <-ctx.Done():
			return
		}
	}
}

// hold makes an owner the caller's. If it is somebody else's, it waits until it is
// not, and holds nothing.
func (a *asker) hold(ctx context.Context, owner facts.Owner) (waited bool, err error) {
	a.mu.Lock()
	other, busy := a.busy[owner]
	if !busy {
		a.busy[owner] = &held{over: make(chan struct{})}
	}
	a.mu.Unlock()
	if !busy {
		return false, nil
	}
	select {
	case <-other.over:
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// forget returns facts whose owner is gone.
func (a *asker) forget(gone []facts.Fact) {
	if a.source == nil {
		return
	}
	for _, f := range gone {
		a.mu.Lock()
		h, busy := a.busy[f.Owner()]
		if !busy {
			h = &held{over: make(chan struct{})}
			a.busy[f.Owner()] = h
		}
		h.spare = append(h.spare, f)
		a.mu.Unlock()
		if !busy {
			a.let(f.Owner())
		}
	}
}

// let gives back what is to spare, in the background, and then makes the owner
// nobody's. With an engine that has ended, the next one does.
func (a *asker) let(owner facts.Owner) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h := a.busy[owner]; len(h.spare) == 0 || a.closed {
		delete(a.busy, owner)
		close(h.over)
		return
	}
	a.returns.Go(func() {
		for _, f := range a.take(owner) {
			a.giveBack(f)
		}
		a.let(owner)
	})
}

// take returns what is to spare of an owner.
func (a *asker) take(owner facts.Owner) []facts.Fact {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.busy[owner]
	out := slices.DeleteFunc(h.spare, func(f facts.Fact) bool { return reflect.DeepEqual(f, a.known(f.Owner())) })
	h.spare = nil
	return out
}

// close waits until what is being given back is, or cannot be in time.
func (a *asker) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.returns.Wait()
}

// answered returns what was found out by a daemon that was here before: what is
// needed now, and what is not.
func (a *asker) answered(ctx context.Context, s *state.Snapshot) (known, spare []facts.Fact) {
	if a.source == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	all, err := a.source.Answers(ctx)
	if err != nil {
		a.log.Error("what was found out before is not known", "op", "engine.ask", "err", err)
	}
	for _, f := range all {
		if needed(s, f) {
			known = append(known, f)
		} else {
			spare = append(spare, f)
		}
	}
	return known, spare
}

func (a *asker) giveBack(f facts.Fact) {
	ctx, cancel := a.bounded()
	defer cancel()
	kept := a.known(f.Owner())
	if kept.Empty() {
		kept = nil
	}
	if err := a.source.Return(ctx, f, kept); err != nil {
		a.log.Warn("what nobody needs is not given back", "op", "engine.ask", "owner", f.Owner(), "err", err)
	}
}
