package reader

import (
	"context"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/model"
)

// List returns the containers that o chooses, the newest first.
func (rd *Reader) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	f := o.Filters
	if err := f.Check(containerview.Filters()...); err != nil {
		return nil, err
	}
	entries, err := rd.between(f)
	if err != nil {
		return nil, err
	}
	if err := containerview.CheckValues(f); err != nil {
		return nil, err
	}
	task, only, err := f.Bool("is-task")
	if err != nil {
		return nil, err
	}
	everything := o.All || o.Limit > 0 || f.Has("status") || f.Has("exited")
	now, linked, view := time.Now(), linkedNames(rd.o.Containers), rd.view()
	out := []container.Summary{}
	for _, b := range entries {
		rec := b.Record()
		if !rec.State.Running && !everything || only && rec.Managed != task {
			continue
		}
		if !view.Matches(rec, f) {
			continue
		}
		one := view.Summary(rec, now)
		one.Names = append(one.Names, linked[rec.ID]...)
		if o.Size {
			if one.SizeRw, one.SizeRootFs, err = rd.sizeOf(ctx, b); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
		if o.Limit > 0 && len(out) == o.Limit {
			break
		}
	}
	return out, nil
}

// between returns the containers made before and since those that the filters
// name.
func (rd *Reader) between(f Filters) ([]Container, error) {
	entries := rd.o.Containers.All()
	for _, key := range []string{"before", "since"} {
		for _, ref := range f[key] {
			edge, err := rd.o.Containers.Find(ref)
			if err != nil {
				return nil, err
			}
			at := edge.Record().Created
			entries = slices.DeleteFunc(entries, func(b Container) bool {
				created := b.Record().Created
				return key == "before" && !created.Before(at) || key == "since" && !created.After(at)
			})
		}
	}
	return entries, nil
}

// ImageUsers returns the containers made from an image, and those that mount it; true for those that run.
func (rd *Reader) ImageUsers(id model.ImageID) map[model.ContainerID]bool {
	out := map[model.ContainerID]bool{}
	for _, b := range rd.o.Containers.All() {
		rec := b.Record()
		if rec.Image == id || slices.ContainsFunc(rec.Mounts, func(p containerspec.MountPoint) bool { return p.ImageID() == id }) {
			out[b.ID()] = rec.State.Running
		}
	}
	return out
}
