package containers

import (
	"context"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/machine"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// Update changes limits and the restart policy.
func (m *Manager) Update(ctx context.Context, ref string, c container.UpdateConfig) (container.UpdateResponse, error) {
	var none container.UpdateResponse
	if err := container.ValidateRestartPolicy(c.RestartPolicy); err != nil {
		return none, model.Errorf(model.Invalid, "%w", err)
	}
	b, err := m.acquire(ctx, ref)
	if err != nil {
		return none, err
	}
	defer b.opLock.release()
	host := *b.snapshot().Host
	if host.AutoRemove && !c.RestartPolicy.IsNone() {
		return none, model.Errorf(model.Conflict, "Cannot update container %s: Restart policy cannot be updated because AutoRemove is enabled for the container", b.id)
	}
	on := machine.This()
	if err := containerspec.CheckLimits(c.Resources, on); err != nil {
		return none, err
	}
	remarks := append([]string{}, containerspec.Possible(&c.Resources, on)...)
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
	if changed := containerspec.ChangedResources(c.Resources); made && changed != (model.Resources{}) {
		if err := m.o.Containers.Update(ctx, b.id, changed); err != nil {
			return none, model.Errorf(model.KindOf(err), "Cannot update container %s: %w", b.id, err)
		}
	}
	b.edit(func(r *record) { r.Host = &host })
	if err := m.records.Save(ctx, b.snapshot().plain()); err != nil {
		return none, err
	}
	m.say(b, dockerevents.ActionUpdate)
	return container.UpdateResponse{Warnings: remarks}, nil
}
