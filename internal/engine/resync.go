package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
)

// observe refreshes the facts. What has been planned stays: facts serve the
// choices of ops still to come.
func (e *Engine) observe(ctx context.Context) error {
	if e.options.Observer == nil {
		return nil
	}
	f, err := e.options.Observer.Observe(ctx)
	if err != nil {
		return fmt.Errorf("observe the host: %w", err)
	}
	next := *e.now.Load()
	next.facts = f
	e.now.Store(&next)
	return nil
}

// recompile plans the whole model anew.
func (e *Engine) recompile() error {
	now := *e.now.Load()
	want, err := e.compileWith(now.snapshot).Full()
	if err != nil {
		return fmt.Errorf("plan the model: %w", err)
	}
	now.desired = want
	e.now.Store(&now)
	return nil
}

// resync makes every hand look at everything, and logs what it found.
func (e *Engine) resync(ctx context.Context) (desired.Report, error) {
	// Ports are held before anybody is led there, and whoever listens needs them.
	claims, claimErr := e.claimAll(ctx, false)
	report, err := e.over(func(h Hand) (desired.Report, error) { return h.Resync(ctx, e.Plan()) })
	report.Drift = append(claims.Drift, report.Drift...)
	if err = errors.Join(claimErr, err); err == nil {
		e.late = false
	}
	for _, line := range report.Drift {
		e.options.Logger.Info("repaired", "op", "engine.resync", "what", line)
	}
	return report, err
}

// catchUp resyncs a kernel that is late.
func (e *Engine) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	if _, err := e.resync(ctx); err != nil {
		e.options.Logger.Warn("the kernel still does not follow the model", "op", "engine.resync", "err", err)
	}
}

// over asks every hand and adds up what they say.
func (e *Engine) over(ask func(Hand) (desired.Report, error)) (desired.Report, error) {
	var sum desired.Report
	var failed []error
	for _, h := range e.options.Hands {
		r, err := ask(h)
		sum.Drift = append(sum.Drift, r.Drift...)
		sum.Writes += r.Writes
		failed = append(failed, err)
	}
	return sum, errors.Join(failed...)
}
