// Package ingress has this host publish the ports that services of the swarm want on all of
// its hosts.
//
//	engine ── Published ─▶ Wake ─▶ settle ─▶ Do(overlays.Publish) ─▶ engine
//
// Which ports these are follows from the model, and from what other hosts told; which of them
// somebody else on this host has turns out when they are taken. Those are tried again until
// they can be had. It decides when, and says what is refused; the op decides the rest.
package ingress

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ops/overlays"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine has the model of this host, and what was learned.
type Engine interface {
	Snapshot() *state.Snapshot
	Facts() facts.Set
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
}

// retryAfter is the pause before ports are tried again that somebody else has.
const retryAfter = 5 * time.Second

// Manager keeps this host's published ports as services want them. Its methods may be called
// from any goroutine.
type Manager struct {
	engine Engine
	log    *slog.Logger
	wake   chan struct{}
	stop   context.CancelFunc
	done   sync.WaitGroup

	// The fields below are of the goroutine of Start.
	refused overlays.Refused
	late    bool // the engine did not take the last op
}

// New returns a manager that does nothing before Start.
func New(e Engine, log *slog.Logger) *Manager {
	return &Manager{engine: e, log: log, wake: make(chan struct{}, 1)}
}

// Wake has it look again at what is wanted. It does not wait.
func (m *Manager) Wake() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Start begins to publish, until Close.
func (m *Manager) Start(ctx context.Context) {
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.done.Go(func() { m.run(ctx) })
	m.Wake()
}

// Close ends it. What is published stays so.
func (m *Manager) Close() {
	if m.stop != nil {
		m.stop()
	}
	m.done.Wait()
}

func (m *Manager) run(ctx context.Context) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		due := false
		select {
		case <-m.wake:
		case <-again.C:
			due = true
		case <-ctx.Done():
			return
		}
		if due && (m.late || len(m.refused) > 0) || !m.settled() {
			m.publish(ctx)
		}
		if m.late || len(m.refused) > 0 {
			again.Reset(retryAfter)
		}
	}
}

// settled tells whether what is published is what is wanted, but for what was refused.
func (m *Manager) settled() bool {
	s := m.engine.Snapshot()
	n, wanted := overlays.Wanted(s, m.engine.Facts())
	left := slices.DeleteFunc(wanted, func(p model.PortSpec) bool { return m.refused[p] != nil })
	for sb := range s.Sandboxes() {
		if sb.Ingress != "" && (sb.Ingress != n.ID || len(wanted) == 0) {
			return false
		}
	}
	return slices.Equal(left, overlays.Published(s, n.ID))
}

func (m *Manager) publish(ctx context.Context) {
	var refused overlays.Refused
	_, err := m.engine.Do(ctx, overlays.Publish(&refused))
	if ctx.Err() != nil {
		return
	}
	if m.late = err != nil; m.late {
		m.log.Warn("ports of services are not published", "op", "ingress.publish", "err", err)
		return
	}
	for p, why := range refused {
		if before := m.refused[p]; before == nil || before.Error() != why.Error() {
			m.log.Warn("a port of a service is not published here", "op", "ingress.publish", "port", p.HostPorts.String()+"/"+string(p.Protocol), "err", said(why))
		}
	}
	for p := range m.refused {
		if refused[p] == nil {
			m.log.Info("a port of a service that somebody else had is free", "op", "ingress.publish", "port", p.HostPorts.String()+"/"+string(p.Protocol))
		}
	}
	m.refused = refused
}

// said is an error with who stands in the way, in one line.
func said(err error) string {
	var e *model.Error
	if errors.As(err, &e) && e.Who != "" {
		return e.Err.Error() + ": " + e.Who
	}
	return err.Error()
}
