package main

import (
	"context"
	"os"

	"github.com/linkspan/linkspan/internal/tracing"
)

// openTraces has traces made if the environment asks for them, until the daemon ends.
func openTraces(ctx context.Context, d *daemon) error {
	t, err := tracing.Open(ctx, tracing.Options{Getenv: os.Getenv, Version: version, Logger: d.log})
	if t != nil {
		d.later(t.Close)
		d.log.Info("traces are sent to a collector", "op", "tracing.start")
	}
	d.traces = t.Hooks()
	return err
}
