package volumes

import (
	"context"
	"maps"
	"slices"
	"strconv"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

func sorted(o map[string]string) []string { return slices.Sorted(maps.Keys(o)) }

// List returns the volumes that meet all filters (dangling, driver, label, name), sorted
// by name. Errors: Invalid for a filter.
func (m *Manager) List(f query.Filters) ([]model.Volume, error) {
	if err := f.Check("dangling", "name", "driver", "label"); err != nil {
		return nil, err
	}
	dangling, given, err := f.Bool("dangling")
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(m.all(), func(v model.Volume) bool {
		return !f.MatchPattern("name", v.Name) || !f.MatchExact("driver", v.Driver) || !f.MatchLabels("label", v.Labels) ||
			given && dangling == (m.users(v.Name) > 0)
	}), nil
}

// Usage is a volume, how many bytes it has, and how many containers have it.
type Usage struct {
	model.Volume
	Size  int64 // -1 if it is not known
	Users int
}

// Usage measures all volumes but those that have options, which stand for something
// elsewhere.
func (m *Manager) Usage(ctx context.Context) ([]Usage, error) {
	out := []Usage{}
	for _, v := range m.all() {
		if len(v.Options) > 0 {
			continue
		}
		size, err := m.store.Size(ctx, v.Name)
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			m.log.Debug("size of a volume", "op", "volume.usage", "volume", v.Name, "err", err)
			size = -1
		}
		out = append(out, Usage{v, size, m.users(v.Name)})
	}
	return out, nil
}

// Pruned is what a prune removed, and how many bytes that had.
type Pruned struct {
	Names     []string
	Reclaimed uint64
}

// Prune removes the volumes that no container has, that have no options, that nobody
// gave a name (with the filter all: these too), and that meet all filters (label,
// label!). Errors: Invalid for a filter; Conflict while another prune runs.
func (m *Manager) Prune(ctx context.Context, f query.Filters) (Pruned, error) {
	out := Pruned{Names: []string{}}
	if err := f.Check("label", "label!", "all"); err != nil {
		return out, err
	}
	all, err := everyone(f["all"])
	if err != nil {
		return out, err
	}
	if !m.pruning.CompareAndSwap(false, true) {
		return out, model.Errorf(model.Conflict, "a prune operation is already running")
	}
	defer m.pruning.Store(false)
	for _, v := range m.all() {
		_, anonymous := v.Labels[model.LabelAnonymous]
		if len(v.Options) > 0 || !all && !anonymous || !f.MatchAllLabels(v.Labels) || m.users(v.Name) > 0 {
			continue
		}
		size, err := m.store.Size(ctx, v.Name)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if err != nil { // it is only told
			m.log.Debug("size of a pruned volume", "op", "volume.prune", "volume", v.Name, "err", err)
		}
		if err := m.Remove(ctx, v.Name, false); err != nil {
			if model.KindOf(err) != model.Conflict && model.KindOf(err) != model.NotFound { // used or removed meanwhile
				m.log.Warn("volume not pruned", "op", "volume.prune", "volume", v.Name, "err", err)
			}
			continue
		}
		out.Names = append(out.Names, v.Name)
		out.Reclaimed += uint64(max(size, 0))
	}
	m.events.Publish(events.Pruned(dockerevents.VolumeEventType, out.Reclaimed))
	return out, nil
}

// everyone reads the filter that lets a prune remove named volumes too.
func everyone(values []string) (bool, error) {
	switch len(values) {
	case 0:
		return false, nil
	case 1:
		all, err := strconv.ParseBool(values[0])
		if err != nil {
			return false, model.Errorf(model.Invalid, "invalid filter 'all': %w", err)
		}
		return all, nil
	}
	return false, model.Errorf(model.Invalid, "invalid filter 'all=%s': only one value is expected", values)
}
