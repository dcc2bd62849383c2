package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
)

// Apply implements engine.Hand. A keeper that was started anew, or ends while it
// applies, has lost more than these rows (desired.ErrLost).
func (k *Keeper) Apply(ctx context.Context, deltas []desired.Delta) error {
	changes := wire.PackDeltas(deltas)
	if len(changes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	l, err := k.reach(ctx)
	if err != nil {
		return err
	}
	if l.isBlank() {
		return fmt.Errorf("the keeper was started anew: %w", desired.ErrLost)
	}
	err = l.call(ctx, wire.VerbApply, wire.Changes{Deltas: changes}, nil)
	if errors.Is(err, errGone) {
		return fmt.Errorf("%w: %w", err, desired.ErrLost)
	}
	return err
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
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var r wire.Report
	l, err := k.ask(ctx, verb, wire.Rows{Rows: wire.PackState(want)}, &r)
	if err == nil && verb == wire.VerbResync {
		l.setBlank(false)
	}
	return desired.Report(r), err
}

// Queries returns what the keeper counted of DNS queries.
func (k *Keeper) Queries(ctx context.Context) (wire.Queries, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var q wire.Queries
	l, err := k.reach(ctx)
	if err != nil {
		return q, err
	}
	return q, l.call(ctx, wire.VerbQueries, nil, &q)
}
