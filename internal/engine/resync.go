package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
)

// observe looks at the host; without an observer nothing is known of it.
func (e *Engine) observe(ctx context.Context) (facts.Host, error) {
	if e.options.Observer == nil {
		return facts.Host{}, nil
	}
	h, err := e.options.Observer.Observe(ctx)
	if err != nil {
		return facts.Host{}, fmt.Errorf("observe the host: %w", err)
	}
	return h, nil
}

// look observes the host. What has been planned from facts that have changed is
// planned anew, and the world follows. Most facts serve the choices of ops still to
// come.
func (e *Engine) look(ctx context.Context) error {
	h, err := e.observe(ctx)
	if err != nil {
		return err
	}
	now := e.now.Load()
	if h.Packets != now.facts.Host.Packets {
		e.options.Logger.Info("the host copes with packets of other sizes: networks follow", "op", "engine.observe")
	}
	next, owners := now.learn(h)
	return e.follow(ctx, next, owners)
}

// resync makes every hand look at everything, and logs what it found.
func (e *Engine) resync(ctx context.Context) (desired.Report, error) {
	// Ports are held before anybody is led there, and whoever listens needs them.
	ports, reserveErr := e.ports.reserveAll(ctx, e.Plan(), false)
	report, err := e.over(func(h Hand) (desired.Report, error) { return h.Resync(ctx, e.Plan()) })
	report.Drift = append(ports.Drift, report.Drift...)
	err = errors.Join(reserveErr, err)
	e.owed.settle(err)
	e.logRepairs(report.Drift)
	return report, err
}

// repairsLogged bounds the lines about one resync: after a boot everything was
// missing.
const repairsLogged = 16

// logRepairs says what was amiss, and of a lot how much more there was.
func (e *Engine) logRepairs(drift []string) {
	for _, line := range drift[:min(len(drift), repairsLogged)] {
		e.options.Logger.Info("repaired", "op", "engine.resync", "what", line)
	}
	if more := len(drift) - repairsLogged; more > 0 {
		e.options.Logger.Info("repaired", "op", "engine.resync", "what", fmt.Sprintf("%d more", more))
	}
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
