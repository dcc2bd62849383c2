package files

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/go-archive"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// Changes returns how the files of a container's own layer differ from those below, by
// path: a folder in which something is another counts as modified. What is mounted in the
// container is not looked at.
func (s *Store) Changes(ctx context.Context, id model.ContainerID) ([]model.FileChange, error) {
	var out []model.FileChange
	err := s.WithLayers(ctx, id, func(ctx context.Context, lower, upper []mount.Mount) error {
		return mount.WithReadonlyTempMount(ctx, lower, func(before string) error {
			return mount.WithReadonlyTempMount(ctx, upper, func(now string) error {
				found, err := archive.ChangesDirs(now, before)
				for _, c := range found {
					out = append(out, model.FileChange{Path: c.Path, Kind: kindOf(c.Kind)})
				}
				return err
			})
		})
	})
	return out, containerd.Fault("diff", containerd.Describe(id), err)
}

func kindOf(k archive.ChangeType) model.ChangeKind {
	switch k {
	case archive.ChangeAdd:
		return model.FileAdded
	case archive.ChangeDelete:
		return model.FileDeleted
	case archive.ChangeModify:
	}
	return model.FileModified
}

// WithLayers gives do the mounts of all that is below a container's own layer, and of the
// two together, as they are until do returns.
func (s *Store) WithLayers(ctx context.Context, id model.ContainerID, do func(ctx context.Context, lower, upper []mount.Mount) error) error {
	ctx, end, err := s.client.Lease(s.client.Scope(ctx))
	if err != nil {
		return err
	}
	defer end(false) //nolint:errcheck // it ends by itself, and the view with it
	store := s.client.Snapshots()
	info, err := store.Stat(ctx, string(id))
	if err != nil {
		return err
	}
	upper, err := store.Mounts(ctx, string(id))
	if err != nil {
		return err
	}
	lower, err := store.View(ctx, fmt.Sprintf("linkspan-view-%s-%d", id, time.Now().UnixNano()), info.Parent)
	if err != nil {
		return err
	}
	return do(ctx, lower, upper)
}
