package volumes

import (
	"context"
	"slices"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Origin has volumes that another engine made.
type Origin interface {
	// Docker returns the local volumes of a Docker data root.
	Docker(root string) ([]model.Volume, error)
	// Copy makes a volume as the other engine has it, with its data.
	Copy(v model.Volume) (model.Volume, error)
}

// Imported is what has become of one volume; Err is nil if it is here now.
type Imported struct {
	Name string
	Err  error
}

// Import copies volumes of a Docker data root, with labels, options and data: those of
// these names, or all. Each is told when it is done; one that is here already stays as it
// is, and is an error. Errors: NotFound for a root without volumes, or a name.
func (m *Manager) Import(ctx context.Context, root string, names []string, told func(Imported)) error {
	all, err := m.origin.Docker(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(v model.Volume) bool { return v.Name == name }) {
			return noSuch("import", name)
		}
	}
	for _, v := range all {
		if len(names) > 0 && !slices.Contains(names, v.Name) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		told(Imported{v.Name, m.importOne(ctx, v)})
	}
	return nil
}

func (m *Manager) importOne(ctx context.Context, v model.Volume) error {
	if err := checkName(v.Name); err != nil {
		return err
	}
	release, err := m.locks.take(ctx, v.Name)
	if err != nil {
		return err
	}
	defer release()
	if _, ok := m.hold(v.Name, ""); ok {
		return model.Errorf(model.Conflict, "a volume of that name is here already")
	}
	if v, err = m.origin.Copy(v); err != nil {
		return err
	}
	m.mu.Lock()
	m.volumes[v.Name] = newVolume(v)
	m.mu.Unlock()
	m.events.Publish(events.Volume(dockerevents.ActionCreate, v))
	return nil
}
