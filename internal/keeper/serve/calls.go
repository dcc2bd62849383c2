package serve

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// endsConversation tells of which calls the keeper may end: always of VerbTaken,
// and of VerbBye if it holds nothing.
func endsConversation(v wire.Verb) bool { return v == wire.VerbTaken || v == wire.VerbBye }

// call does what a request asks for.
func (s *Server) call(ctx context.Context, r wire.Request) (any, error) {
	if s.isReleased() && r.Verb != wire.VerbTaken && r.Verb != wire.VerbHello {
		return nil, model.Errorf(model.Unavailable, "this keeper is being replaced")
	}
	switch r.Verb {
	case wire.VerbHello:
		return s.o.Hello, nil
	case wire.VerbApply:
		return with(r, func(b wire.Changes) (any, error) { return nil, s.apply(ctx, b) })
	case wire.VerbResync:
		return with(r, func(b wire.Rows) (any, error) { return report(ctx, b, s.o.Rows.Resync) })
	case wire.VerbCheck:
		return with(r, func(b wire.Rows) (any, error) { return report(ctx, b, s.o.Rows.Check) })
	case wire.VerbClaim:
		return with(r, func(b wire.Claims) (any, error) { return nil, s.o.Ports.Claim(ctx, b.Rows) })
	case wire.VerbUnclaim:
		return with(r, func(b wire.Claims) (any, error) { return nil, s.o.Ports.Unclaim(ctx, b.Rows) })
	case wire.VerbClaimed:
		return wire.Claims{Rows: s.o.Ports.Claimed()}, nil
	case wire.VerbOpen:
		return with(r, func(o model.Output) (any, error) { return nil, s.o.Outputs.Open(ctx, o) })
	case wire.VerbBegun:
		return with(r, func(b wire.Subject) (any, error) { s.o.Outputs.Begun(b.Container); return nil, nil })
	case wire.VerbDrain:
		return with(r, func(b wire.Subject) (any, error) { return nil, s.o.Outputs.Drain(ctx, b.Container) })
	case wire.VerbClose:
		return with(r, func(b wire.Subject) (any, error) { return nil, s.o.Outputs.Close(b.Container) })
	case wire.VerbKeep:
		return with(r, func(b wire.Subjects) (any, error) { return nil, s.keep(b.Containers) })
	case wire.VerbQueries:
		return s.o.Queries(), nil
	case wire.VerbTaken:
		return nil, s.retire()
	case wire.VerbBye:
		return nil, s.bye()
	}
	return nil, model.Errorf(model.Invalid, "unknown request %q", r.Verb)
}

// with reads a request's body.
func with[T any](r wire.Request, f func(T) (any, error)) (any, error) {
	var body T
	if err := json.Unmarshal(r.Body, &body); err != nil {
		return nil, model.Errorf(model.Invalid, "request %s: %w", r.Verb, err)
	}
	return f(body)
}

func (s *Server) apply(ctx context.Context, c wire.Changes) error {
	deltas, err := wire.UnpackDeltas(c.Deltas)
	if err != nil {
		return err
	}
	return s.o.Rows.Apply(ctx, deltas)
}

// report calls Resync or Check.
func report(ctx context.Context, b wire.Rows, f func(context.Context, desired.State) (desired.Report, error)) (any, error) {
	want, err := wire.UnpackState(b.Rows)
	if err != nil {
		return nil, err
	}
	r, err := f(ctx, want)
	return wire.Report(r), err
}

// keep closes the outputs of all other containers.
func (s *Server) keep(ids []model.ContainerID) error {
	var failed []error
	for _, o := range s.o.Outputs.List() {
		if !slices.Contains(ids, o.Container) {
			failed = append(failed, s.o.Outputs.Close(o.Container))
		}
	}
	return errors.Join(failed...)
}

// bye lets a keeper that holds nothing end without waiting for another daemon.
func (s *Server) bye() error {
	if s.o.Estate.Empty() {
		s.mu.Lock()
		s.end()
		s.mu.Unlock()
	}
	return nil
}
