package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/linkspan/linkspan/internal/desired"
)

// observe refreshes the facts. What has been planned stays: most facts serve the
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
	next.facts = next.facts.With(f)
	e.now.Store(&next)
	return nil
}

// look observes the host. Where facts have changed that plans follow from, all is
// planned anew and the world follows, so that a network is of one piece.
func (e *Engine) look(ctx context.Context) error {
	before := e.now.Load()
	if err := e.observe(ctx); err != nil {
		return err
	}
	known, now := before.facts.Host, e.now.Load().facts.Host
	resized := now.Packets != known.Packets
	if !resized && slices.Equal(now.Addrs, known.Addrs) && slices.Equal(now.MACs, known.MACs) {
		return nil
	}
	if err := e.recompile(); err != nil {
		return err
	}
	if resized {
		e.options.Logger.Info("the host copes with packets of other sizes: networks follow", "op", "engine.observe")
	}
	next := e.Plan()
	owners := slices.AppendSeq(slices.Collect(before.desired.Owners()), next.Owners())
	slices.Sort(owners)
	if err := e.apply(ctx, desired.Diff(before.desired, next, slices.Compact(owners)), next); err != nil {
		e.options.Logger.Warn("the kernel does not follow the host's facts yet", "op", "engine.observe", "err", err)
		e.late = true
	}
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
