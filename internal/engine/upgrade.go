package engine

import (
	"context"
	"fmt"

	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// upgraded returns the snapshot of a view with what records of older releases, and those
// of before the last boot, leave open settled, and stored. Where nothing is open,
// nothing is written.
func (e *Engine) upgraded(ctx context.Context, v view) (*state.Snapshot, error) {
	tx := ops.Begin(v.snapshot, v.facts, e.options.Networks.Drivers)
	if err := ops.All(ops.SettlePublished(), ops.ForgetGuests())(tx); err != nil {
		return nil, fmt.Errorf("upgrade the model: %w", err)
	}
	next, changes := tx.Commit()
	if len(changes) == 0 {
		return v.snapshot, nil
	}
	if err := e.save(ctx, next, changes); err != nil {
		return nil, fmt.Errorf("store the upgraded model: %w", err)
	}
	return next, nil
}
