package containers

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Prune removes the containers that do not run and that the filters (until,
// label, label!) choose.
func (m *Manager) Prune(ctx context.Context, f Filters) (container.PruneReport, error) {
	report := container.PruneReport{}
	if err := f.Check("until", "label", "label!"); err != nil {
		return report, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return report, err
	}
	if !m.pruning.CompareAndSwap(false, true) {
		return report, model.Errorf(model.Conflict, "a prune operation is already running")
	}
	defer m.pruning.Store(false)
	for _, b := range m.all() {
		rec := b.snapshot()
		labels := rec.Config.Labels
		skip := !until.IsZero() && rec.Created.After(until) || !f.MatchLabels("label", labels) ||
			f.Has("label!") && f.MatchLabels("label!", labels)
		if rec.State.Running || skip {
			continue
		}
		written, _, sizeErr := m.Size(ctx, string(b.id))
		if sizeErr != nil { // it is only told
			m.log.Debug("size of a pruned container", "container", model.Short(b.id), "op", "container.prune", "err", sizeErr)
		}
		err := m.Remove(ctx, string(b.id), RemoveOptions{})
		switch {
		case err == nil:
			report.SpaceReclaimed += uint64(max(written, 0))
			report.ContainersDeleted = append(report.ContainersDeleted, string(b.id))
		case ctx.Err() != nil:
			return report, context.Cause(ctx)
		case model.KindOf(err) != model.Conflict && model.KindOf(err) != model.NotFound: // started or removed meanwhile
			m.log.Warn("prune", "container", model.Short(b.id), "op", "container.prune", "err", err)
		}
	}
	m.o.Events.Publish(events.Pruned(dockerevents.ContainerEventType, report.SpaceReclaimed))
	return report, nil
}
