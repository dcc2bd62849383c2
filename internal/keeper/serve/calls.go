package serve

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// endsConversation tells of which calls the keeper may end: always of VerbTaken,
// and of VerbBye if it holds nothing.
func endsConversation(v wire.Verb) bool { return v == wire.VerbTaken || v == wire.VerbBye }

// call does what a request asks for.
func (s *Server) call(ctx context.Context, t *transfers, r wire.Request) (any, error) {
	if s.isReleased() && r.Verb != wire.VerbTaken && r.Verb != wire.VerbHello {
		return nil, model.Errorf(model.Unavailable, "this keeper is being replaced")
	}
	switch r.Verb {
	case wire.VerbHello:
		return s.o.Hello, nil
	case wire.VerbApply:
		return with(r, func(b wire.Changes) (any, error) { return nil, s.apply(ctx, b) })
	case wire.VerbResync:
		return with(r, func(b wire.Rows) (any, error) { return s.resync(ctx, t, b) })
	case wire.VerbCheck:
		return with(r, func(b wire.Rows) (any, error) { return t.report(ctx, b, s.o.Rows.Check) })
	case wire.VerbReserve:
		return with(r, func(b wire.Reservations) (any, error) { return nil, s.o.Ports.Reserve(ctx, b.Rows) })
	case wire.VerbRelease:
		return with(r, func(b wire.Reservations) (any, error) { return nil, s.o.Ports.Release(ctx, b.Rows) })
	case wire.VerbReserved:
		return wire.Reservations{Rows: s.o.Ports.Reserved()}, nil
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
	case wire.VerbLeaseAsk, wire.VerbLeaseReturn, wire.VerbLeaseWatch:
		return s.lease(ctx, r)
	case wire.VerbQueries:
		return s.o.Queries(), nil
	case wire.VerbTaken:
		return nil, s.retire()
	case wire.VerbBye:
		s.bye()
		return nil, nil
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

func (s *Server) resync(ctx context.Context, t *transfers, b wire.Rows) (any, error) {
	if b.Firewall != nil && s.o.Guard != nil {
		s.o.Guard.Configure(*b.Firewall)
	}
	return t.report(ctx, b, s.o.Rows.Resync)
}

// maxTransfers is how many requests in parts one connection may have begun. The oldest
// goes when there is another: its caller has given up.
const maxTransfers = 4

// transfers are the requests of one connection of which not all parts have come.
type transfers struct {
	mu    sync.Mutex
	rows  map[uint64][]wire.Row
	order []uint64
}

// take returns all rows of a transfer with its last part; false before.
func (t *transfers) take(b wire.Rows) ([]wire.Row, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b.Transfer == 0 {
		return b.Rows, true
	}
	before, begun := t.rows[b.Transfer]
	rows := append(before, b.Rows...)
	if !b.More {
		delete(t.rows, b.Transfer)
		t.order = slices.DeleteFunc(t.order, func(id uint64) bool { return id == b.Transfer })
		return rows, true
	}
	if t.rows == nil {
		t.rows = map[uint64][]wire.Row{}
	}
	t.rows[b.Transfer] = rows
	if !begun {
		t.order = append(t.order, b.Transfer)
	}
	if len(t.order) > maxTransfers {
		delete(t.rows, t.order[0])
		t.order = t.order[1:]
	}
	return nil, false
}

// report calls Resync or Check, once all rows are there.
func (t *transfers) report(ctx context.Context, b wire.Rows, f func(context.Context, desired.State) (desired.Report, error)) (any, error) {
	rows, whole := t.take(b)
	if !whole {
		return nil, nil
	}
	want, err := wire.UnpackState(rows)
	if err != nil {
		return nil, err
	}
	r, err := f(ctx, want)
	return wire.PackReport(r), err
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
func (s *Server) bye() {
	if s.o.Estate.Empty() {
		s.mu.Lock()
		s.end()
		s.mu.Unlock()
	}
}
