package main

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel"
	"github.com/linkspan/linkspan/internal/kernel/shape"
)

// repairers put right what others have changed: interfaces first, then what hangs on them.
type repairers struct {
	*kernel.Kernel
	shaper *shape.Shaper
}

// Repair implements engine.Watcher.
func (r repairers) Repair(ctx context.Context, want desired.State, owners []desired.Owner) (desired.Report, error) {
	report, err := r.Kernel.Repair(ctx, want, owners)
	shaped, shapeErr := r.shaper.Repair(ctx, want, owners)
	report.Drift, report.Writes = append(report.Drift, shaped.Drift...), report.Writes+shaped.Writes
	return report, errors.Join(err, shapeErr)
}
