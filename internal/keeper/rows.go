package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
)

// rowsTime bounds what is told in parts, each of which has callTime.
const rowsTime = 3 * time.Minute

// Apply implements engine.Hand. A keeper that was started anew, or ends while it
// applies, has lost more than these rows (desired.ErrLost).
func (k *Keeper) Apply(ctx context.Context, deltas []desired.Delta) error {
	changes := wire.PackDeltas(deltas)
	if len(changes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, rowsTime)
	defer cancel()
	s, err := k.reachInTime(ctx)
	if err != nil {
		return err
	}
	if s.isBlank() {
		return fmt.Errorf("the keeper was started anew: %w", desired.ErrLost)
	}
	var failed []error
	for part := range wire.Split(changes, wire.PartSize) {
		err := s.callInTime(ctx, wire.VerbApply, wire.Changes{Deltas: part}, nil)
		if errors.Is(err, errGone) {
			return errors.Join(append(failed, fmt.Errorf("%w: %w", err, desired.ErrLost))...)
		}
		// What one part cannot do is no reason to leave out the others: rows are
		// independent of one another here, and the engine takes back what it has to.
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// Resync implements engine.Hand.
func (k *Keeper) Resync(ctx context.Context, want desired.State) (desired.Report, error) {
	return k.compare(ctx, want, wire.VerbResync)
}

// Check implements engine.Hand.
func (k *Keeper) Check(ctx context.Context, want desired.State) (desired.Report, error) {
	return k.compare(ctx, want, wire.VerbCheck)
}

func (k *Keeper) compare(ctx context.Context, want desired.State, verb wire.Verb) (desired.Report, error) {
	var r wire.Report
	rows := wire.PackState(want)
	ctx, cancel := context.WithTimeout(ctx, rowsTime)
	defer cancel()
	var firewall *wire.Firewall
	if verb == wire.VerbResync {
		firewall = k.o.Firewall
	}
	s, err := k.try(ctx, func(s *session) error { return s.passRows(ctx, verb, rows, firewall, &r) })
	if err == nil && verb == wire.VerbResync {
		s.setBlank(false)
	}
	return desired.Report(r), err
}

// passRows makes a call about all rows, in parts: the answer to the last is that of
// the call.
func (s *session) passRows(ctx context.Context, verb wire.Verb, rows []wire.Row, firewall *wire.Firewall, answer *wire.Report) error {
	s.mu.Lock()
	s.batches++
	transfer := s.batches
	s.mu.Unlock()
	for part, more := range wire.Split(rows, wire.PartSize) {
		body := wire.Rows{Rows: part, Transfer: transfer, More: more, Firewall: firewall}
		if !more {
			return s.callInTime(ctx, verb, body, answer)
		}
		if err := s.callInTime(ctx, verb, body, nil); err != nil {
			return err
		}
	}
	return nil
}

// Queries returns what the keeper counted of DNS queries.
func (k *Keeper) Queries(ctx context.Context) (wire.Queries, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var q wire.Queries
	s, err := k.reach(ctx)
	if err != nil {
		return q, err
	}
	return q, s.call(ctx, wire.VerbQueries, nil, &q)
}
