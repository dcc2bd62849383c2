package engine

import (
	"context"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/plan"
	"github.com/linkspan/linkspan/internal/state"
)

// Learn takes note of facts, each in the place of what was known of its owner, and
// returns once kernel and names follow: what depends on them is planned anew and
// nothing else. The model is not changed. It is a turn of its own: all facts are
// learned, or with an error none. What is said of an endpoint that is not there, or
// not up, is NotFound, since nobody needs it.
func (e *Engine) Learn(ctx context.Context, learned ...facts.Fact) error {
	_, err := e.submit(&request{ctx: ctx, answer: make(chan answer, 1), task: func(ctx context.Context) error { return e.learn(ctx, learned) }})
	return err
}

func (e *Engine) learn(ctx context.Context, learned []facts.Fact) error {
	now := e.now.Load()
	for _, f := range learned {
		if end, ok := f.(facts.Endpoint); ok && !end.Empty() && !up(now.snapshot, end.ID) {
			return model.Errorf(model.NotFound, "endpoint %s is not up: nothing can be learned about it", model.Short(end.ID))
		}
	}
	next, owners := now.learn(learned...)
	_, err := e.realise(ctx, next, owners, nil)
	return e.explain(err, next.snapshot)
}

// learn returns a view that knows more, and the owners whose rows may follow.
func (v *view) learn(learned ...facts.Fact) (view, []desired.Owner) {
	next := *v
	var owners []desired.Owner
	for _, f := range learned {
		owners = append(owners, plan.OwnersOf(next.snapshot, next.facts, f)...)
		next.facts = next.facts.With(f)
	}
	slices.Sort(owners)
	return next, slices.Compact(owners)
}

// forget returns the facts without those of endpoints that are gone or down.
func forget(known facts.Set, changes []state.Change) facts.Set {
	for _, c := range changes {
		if c.Kind != state.KindEndpoint {
			continue
		}
		id := model.EndpointID(c.ID)
		if now, there := c.New.(model.Endpoint); (!there || !now.Up) && !known.Endpoint(id).Empty() {
			known = known.With(facts.Endpoint{ID: id})
		}
	}
	return known
}

func up(s *state.Snapshot, id model.EndpointID) bool {
	e, there := s.Endpoint(id)
	return there && e.Up
}
