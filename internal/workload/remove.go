package workload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// Remove removes a container. One that runs is refused (Conflict) unless Force.
func (m *Manager) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	b, err := m.find(ref)
	if err != nil {
		return err
	}
	if o.Force {
		ctx = context.WithoutCancel(ctx) // what is killed is removed too
		if err := m.endForRemoval(ctx, b); err != nil {
			return err
		}
	}
	if err := b.turn.take(ctx); err != nil {
		return err
	}
	defer b.turn.give()
	if b.isGone() {
		if o.Force { // by --rm, which was quicker
			return nil
		}
		return model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	if rec := b.snapshot(); rec.State.Running {
		return model.Errorf(model.Conflict, "cannot remove container %q: container is %s: stop the container before removing or force remove",
			"/"+rec.Name, rec.status())
	}
	return m.remove(context.WithoutCancel(ctx), b, o)
}

// endForRemoval kills what runs, and sees to it that nothing runs again.
func (m *Manager) endForRemoval(ctx context.Context, b *box) error {
	r, err := m.beginStop(ctx, b, true)
	if err != nil && model.KindOf(err) != model.NotModified {
		return err
	}
	if r == nil {
		return nil
	}
	return m.end(context.WithoutCancel(ctx), b, r)
}

// remove is Remove of a container without a process, with the turn held. Record and
// sandbox go first: what a crash leaves after that is swept by Restore.
func (m *Manager) remove(ctx context.Context, b *box, o RemoveOptions) error {
	held, err := m.records.Forget(ctx, b.id)
	if err != nil {
		return fmt.Errorf("delete record of container %s: %w", model.Short(b.id), err)
	}
	b.mu.Lock()
	b.gone = true
	b.rec.State.Restarting, b.rec.State.Running = false, false
	rec, made := b.rec, b.made || b.tried
	b.mu.Unlock()
	m.mu.Lock()
	delete(m.boxes, b.id)
	m.mu.Unlock()
	m.execs.Forget(b.id)
	left := remains{rec.ID, held, made}
	err = m.dismantle(ctx, left)
	if err != nil && m.finishLater(left) {
		// The container is gone for all who ask; what is left is the manager's affair.
		m.log.Warn("removal to be finished later", "container", model.Short(b.id), "op", "container.remove", "err", err)
		err = nil
	}
	if o.Volumes {
		err = errors.Join(err, m.volumes.Remove(rec.Mounts))
	}
	m.closeOutput(ctx, b)
	m.say(b, dockerevents.ActionDestroy)
	// Why a start failed is no news for those who wait for the removal, only why
	// that failed is.
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	b.wake(int64(rec.State.ExitCode), problem, true)
	return err
}

// dismantle removes what is left of a container that is out of the state, but for its
// volumes. What is gone already is success.
func (m *Manager) dismantle(ctx context.Context, left remains) error {
	var network, runtime error
	var both sync.WaitGroup
	if left.sandbox != "" {
		both.Go(func() { _, network = m.o.Engine.Do(ctx, ops.RemoveSandbox(left.sandbox)) })
	}
	if left.made {
		both.Go(func() { runtime = m.o.Containers.Delete(ctx, left.id) })
	}
	both.Wait()
	return errors.Join(network, runtime, m.dirs.Remove(left.id))
}

// Rename gives a container another name; its networks know it by that name from
// then on.
func (m *Manager) Rename(ctx context.Context, ref, name string) error {
	name = strings.TrimPrefix(name, "/")
	if ref == "" || name == "" {
		return refuse("Neither old nor new names may be empty")
	}
	b, err := m.take(ctx, ref)
	if err != nil {
		return err
	}
	defer b.turn.give()
	old := b.snapshot()
	if old.Name == name {
		return refuse("Renaming a container with the same name as its current name")
	}
	if _, err := chooseName(m.o.Engine.Snapshot(), name, b.id); err != nil {
		return model.Errorf(model.KindOf(err), "Error when allocating new name: %w", err)
	}
	if err := m.rename(context.WithoutCancel(ctx), b, name); err != nil {
		return err
	}
	m.say(b, dockerevents.ActionRename, "oldName", "/"+old.Name)
	return nil
}

// rename changes the name in record and sandbox, and then in the hosts files of those
// who link to the container.
func (m *Manager) rename(ctx context.Context, b *box, name string) error {
	next := b.snapshot()
	next.Name, next.FormerName = name, next.Name
	if err := m.records.Rename(ctx, next.plain()); err != nil {
		return err
	}
	m.renameLinks(b.snapshot(), func() { b.set(next) })
	return nil
}

// Update changes limits and the restart policy.
func (m *Manager) Update(ctx context.Context, ref string, c container.UpdateConfig) (container.UpdateResponse, error) {
	var none container.UpdateResponse
	if err := container.ValidateRestartPolicy(c.RestartPolicy); err != nil {
		return none, model.Errorf(model.Invalid, "%w", err)
	}
	b, err := m.take(ctx, ref)
	if err != nil {
		return none, err
	}
	defer b.turn.give()
	host := *b.snapshot().Host
	if host.AutoRemove && !c.RestartPolicy.IsNone() {
		return none, model.Errorf(model.Conflict, "Cannot update container %s: Restart policy cannot be updated because AutoRemove is enabled for the container", b.id)
	}
	if err := containerspec.CheckLimits(c.Resources, thisMachine()); err != nil {
		return none, err
	}
	if err := containerspec.CheckUpdate(host.Resources, c.Resources); err != nil {
		return none, model.Errorf(model.KindOf(err), "Cannot update container %s: %w", b.id, err)
	}
	containerspec.UpdateResources(&host.Resources, c.Resources)
	if c.RestartPolicy.Name != "" {
		host.RestartPolicy = c.RestartPolicy
	}
	b.mu.Lock()
	made := b.made
	b.mu.Unlock()
	ctx = context.WithoutCancel(ctx) // the limits and the record change both or not at all
	if changed := containerspec.Resources(c.Resources); made && changed != (model.Resources{}) {
		if err := m.o.Containers.Update(ctx, b.id, changed); err != nil {
			return none, model.Errorf(model.KindOf(err), "Cannot update container %s: %w", b.id, err)
		}
	}
	b.edit(func(r *record) { r.Host = &host })
	if err := m.records.Save(ctx, b.snapshot().plain()); err != nil {
		return none, err
	}
	m.say(b, dockerevents.ActionUpdate)
	return container.UpdateResponse{Warnings: []string{}}, nil
}

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
		written, _, sizeErr := m.sizeOf(ctx, b)
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
