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
		if !needed(now.snapshot, f) {
			return model.Errorf(model.NotFound, "%s is not up: nothing can be learned about it", f.Owner())
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
	next.facts, owners = learn(v.snapshot, v.facts, learned)
	return next, owners
}

// learn adds those facts that are needed to what is known, and returns the owners
// whose rows may follow, in order.
func learn(s *state.Snapshot, known facts.Set, learned []facts.Fact) (facts.Set, []desired.Owner) {
	var owners []desired.Owner
	for _, f := range learned {
		if needed(s, f) {
			owners = append(owners, plan.OwnersOf(s, known, f)...)
			known = known.With(f)
		}
	}
	slices.Sort(owners)
	return known, slices.Compact(owners)
}

// forget returns the facts without those of endpoints that are gone or down and of
// networks that are gone, and those apart.
func forget(known facts.Set, changes []state.Change) (rest facts.Set, gone []facts.Fact) {
	for _, c := range changes {
		var old facts.Fact
		switch c.Kind {
		case state.KindEndpoint:
			if now, there := c.New.(model.Endpoint); !there || !now.Up {
				old = known.Endpoint(model.EndpointID(c.ID))
				known = known.With(facts.Endpoint{ID: model.EndpointID(c.ID)})
			}
		case state.KindNetwork:
			if c.New == nil {
				old = known.Network(model.NetworkID(c.ID))
				known = known.With(facts.Network{ID: model.NetworkID(c.ID)})
			}
		}
		if old != nil && !old.Empty() {
			gone = append(gone, old)
		}
	}
	return known, gone
}

// needed tells whether a fact is of any use: the endpoint that it is about is up, or the
// network is there. To forget is always possible.
func needed(s *state.Snapshot, f facts.Fact) bool {
	switch about := f.(type) {
	case facts.Endpoint:
		e, there := s.Endpoint(about.ID)
		return about.Empty() || there && e.Up
	case facts.Network:
		_, there := s.Network(about.ID)
		return about.Empty() || there
	}
	return true
}

// union returns a and what of b is not in it.
func union(a, b []desired.Owner) []desired.Owner {
	for _, o := range b {
		if !slices.Contains(a, o) {
			a = append(a, o)
		}
	}
	return a
}
