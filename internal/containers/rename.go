package containers

import (
	"context"
	"strings"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/naming"
	"github.com/linkspan/linkspan/internal/model"
)

// Rename gives a container another name; its networks know it by that name from
// then on.
func (m *Manager) Rename(ctx context.Context, ref, name string) error {
	name = strings.TrimPrefix(name, "/")
	if ref == "" || name == "" {
		return refuse("Neither old nor new names may be empty")
	}
	b, err := m.acquire(ctx, ref)
	if err != nil {
		return err
	}
	defer b.opLock.release()
	old := b.snapshot()
	if old.Name == name {
		return refuse("Renaming a container with the same name as its current name")
	}
	if _, err := naming.Choose(m.o.Engine.Snapshot(), name, b.id); err != nil {
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
func (m *Manager) rename(ctx context.Context, b *entry, name string) error {
	next := b.snapshot()
	next.Name, next.FormerName = name, next.Name
	if err := m.records.Rename(ctx, next.plain()); err != nil {
		return err
	}
	m.files.RenameLinks(b.Record(), func() { b.set(next) })
	return nil
}
