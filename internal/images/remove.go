package images

import (
	"context"
	"slices"
	"strings"
	"time"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Change is one thing that a removal did: it took a name off an image, or it deleted
// the image. The other field is empty.
type Change struct {
	Untagged, Deleted string
}

// Remove takes a name off an image, and deletes the image with its last name. Errors:
// Conflict while containers use it.
func (m *Manager) Remove(ctx context.Context, ref string, force bool) ([]Change, error) {
	if strings.TrimSpace(ref) == "" {
		return nil, model.Errorf(model.Invalid, "image name cannot be blank")
	}
	i, err := m.store.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if err := inUse(ref, i, m.containers.ImageUsers(i.ID), force); err != nil {
		return nil, err
	}
	return m.remove(ctx, ref, i.ID, force)
}

// remove takes a name or an image away and says so.
func (m *Manager) remove(ctx context.Context, ref string, id model.ImageID, force bool) ([]Change, error) {
	untagged, deleted, err := m.store.Remove(ctx, ref, force)
	if err != nil {
		return nil, err
	}
	var out []Change
	for _, name := range untagged {
		out = append(out, Change{Untagged: name})
		m.say(dockerevents.ActionUnTag, id, name)
	}
	for _, name := range deleted {
		out = append(out, Change{Deleted: name})
		m.say(dockerevents.ActionDelete, id, name)
	}
	return out, nil
}

// inUse refuses to remove an image under containers, in Docker's words: by name
// only its last name counts, and force overrules everything but a container that
// runs. Docker would take the last name away even then and keep the image without
// one; the store here does not know images without a name.
func inUse(ref string, i model.Image, users map[model.ContainerID]bool, force bool) error {
	byName := !strings.HasPrefix(strings.TrimPrefix(string(i.ID), "sha256:"), strings.TrimPrefix(ref, "sha256:"))
	if len(users) == 0 || byName && len(i.Tags) > 1 {
		return nil
	}
	short := model.Short(strings.TrimPrefix(string(i.ID), "sha256:"))
	for id, running := range users {
		switch {
		case byName && !force:
			return model.Errorf(model.Conflict, "conflict: unable to remove repository reference %q (must force) - "+
				"container %s is using its referenced image %s", ref, model.Short(id), short)
		case running:
			return model.Errorf(model.Conflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s",
				short, model.Short(id))
		case !force:
			return model.Errorf(model.Conflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s",
				short, model.Short(id))
		}
	}
	return nil
}

// Prune removes the images that nobody uses and that meet all filters (dangling, label,
// label!, until): those without a name, or with dangling=false all; and what failed
// pulls have left for the next try. It returns what it did, and how many bytes that freed. Errors: Invalid for a filter.
func (m *Manager) Prune(ctx context.Context, f query.Filters) (done []Change, reclaimed uint64, err error) {
	if err := f.Check("dangling", "label", "label!", "until"); err != nil {
		return nil, 0, err
	}
	dangling, given, err := f.Bool("dangling")
	if err != nil {
		return nil, 0, err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return nil, 0, err
	}
	if err := m.mover.DropAbandoned(ctx); err != nil {
		m.log.Warn("what failed pulls left is not pruned", "op", "image.prune", "err", err)
	}
	all, err := m.store.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, i := range all {
		if (dangling || !given) && !isDangling(i) || m.Users(i.ID) > 0 ||
			!until.IsZero() && i.Created.After(until) || !f.MatchAllLabels(i.Config.Labels) {
			continue
		}
		gone, err := m.remove(ctx, string(i.ID), i.ID, true)
		if err != nil {
			m.log.Warn("image not pruned", "op", "image.prune", "err", err)
			continue
		}
		done = append(done, gone...)
		if slices.ContainsFunc(gone, func(c Change) bool { return c.Deleted != "" }) {
			reclaimed += uint64(max(0, i.Size))
		}
	}
	return done, reclaimed, nil
}
