// Package prune removes the containers that do not run: docker container prune.
package prune

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Containers are all containers, and how they are removed.
type Containers interface {
	Records() []containerrecord.Record
	// Size returns the bytes that a container has written.
	Size(ctx context.Context, ref string) (written, all int64, err error)
	// RemoveStopped removes a container. Errors: Conflict if it runs, NotFound if it is gone.
	RemoveStopped(ctx context.Context, id model.ContainerID) error
}

// Publisher is told what happened.
type Publisher interface{ Publish(e events.Message) }

// Pruner removes containers. Its methods may be called from any goroutine.
type Pruner struct {
	containers Containers
	events     Publisher
	log        *slog.Logger
	busy       atomic.Bool // one prune at a time
}

// New returns who removes the containers.
func New(c Containers, p Publisher, log *slog.Logger) *Pruner {
	return &Pruner{containers: c, events: p, log: log}
}

// Prune removes the containers that do not run and that the filters (until, label, label!)
// choose. Errors: Invalid for a filter, Conflict while another prune runs.
func (p *Pruner) Prune(ctx context.Context, f query.Filters) (container.PruneReport, error) {
	report := container.PruneReport{}
	if !p.busy.CompareAndSwap(false, true) {
		return report, model.Errorf(model.Conflict, "a prune operation is already running")
	}
	defer p.busy.Store(false)
	if err := f.Check("until", "label", "label!"); err != nil {
		return report, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return report, err
	}
	for _, rec := range p.containers.Records() {
		if rec.State.Running || !until.IsZero() && rec.Created.After(until) || !f.MatchAllLabels(rec.Config.Labels) {
			continue
		}
		written, _, sizeErr := p.containers.Size(ctx, string(rec.ID))
		if sizeErr != nil { // it is only told
			p.log.Debug("size of a pruned container", "container", model.Short(rec.ID), "op", "container.prune", "err", sizeErr)
		}
		err := p.containers.RemoveStopped(ctx, rec.ID)
		switch {
		case err == nil:
			report.SpaceReclaimed += uint64(max(written, 0))
			report.ContainersDeleted = append(report.ContainersDeleted, string(rec.ID))
		case ctx.Err() != nil:
			return report, context.Cause(ctx)
		case model.KindOf(err) != model.Conflict && model.KindOf(err) != model.NotFound: // started or removed meanwhile
			p.log.Warn("prune", "container", model.Short(rec.ID), "op", "container.prune", "err", err)
		}
	}
	p.events.Publish(events.Pruned(dockerevents.ContainerEventType, report.SpaceReclaimed))
	return report, nil
}
