package system

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/dockerapi/images"
	"github.com/linkspan/linkspan/internal/dockerapi/volumes"
	"github.com/linkspan/linkspan/internal/model"
)

// usage is /system/df in the old form, the new form, or, in 1.52, both.
type usage struct {
	system.DiskUsage
	*legacyUsage
}

// legacyUsage is what 1.53 no longer has.
type legacyUsage struct {
	LayersSize int64
	Images     []images.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
	// BuilderSize was dropped in 1.42.
	BuilderSize int64
}

func (a *api) diskUsage(w http.ResponseWriter, r *httpkit.Request) error {
	asked := r.Query["type"]
	for _, kind := range asked {
		if !slices.Contains([]string{"container", "image", "volume", "build-cache"}, kind) {
			return model.Errorf(model.Invalid, "unknown object type: %s", kind)
		}
	}
	wants := func(kind string) bool { return len(asked) == 0 || slices.Contains(asked, kind) }
	stored, layers, err := images.Usage(r, a.Images)
	if err != nil {
		return err
	}
	containers, err := a.Containers.List(r.Context(), containerhub.ListOptions{All: true, Size: true, Filters: containerhub.Filters{}})
	if err != nil {
		return err
	}
	var kept []volume.Volume
	if wants("volume") {
		if kept, err = a.volumes(r); err != nil {
			return err
		}
	}
	has := found{stored, layers, containers, kept, nil}
	if wants("build-cache") {
		has.builds, err = a.buildCache(r, len(asked) != 1)
		if err != nil && len(asked) > 0 {
			return err
		} // else the rest is told all the same: why the builder does not answer is in the log
	}
	answer := usage{}
	if r.Version >= 52 {
		answer.DiskUsage = newUsage(has, wants, r.Flag("verbose"))
	}
	if r.Version <= 52 && !r.Flag("verbose") {
		answer.legacyUsage = oldUsage(has, wants)
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}

// volumes returns all volumes that take room here, with how much.
func (a *api) volumes(r *httpkit.Request) ([]volume.Volume, error) {
	all, err := a.Volumes.Usage(r.Context())
	if err != nil {
		return nil, err
	}
	out := make([]volume.Volume, 0, len(all))
	for _, u := range all {
		v := volumes.Show(u.Volume)
		v.UsageData = &volume.UsageData{Size: u.Size, RefCount: int64(u.Users)}
		out = append(out, v)
	}
	return out, nil
}

// builderTime is how long the builder, which may have to be started, is waited for by who asks for more than
// its cache.
const builderTime = 10 * time.Second

// buildCache returns what builds have left to go faster the next time.
func (a *api) buildCache(r *httpkit.Request, among bool) ([]build.CacheRecord, error) {
	ctx := r.Context()
	if among {
		limited, cancel := context.WithTimeout(ctx, builderTime)
		defer cancel()
		ctx = limited
	}
	all, err := a.BuildCache.Usage(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]build.CacheRecord, 0, len(all))
	for _, one := range all {
		out = append(out, build.CacheRecord{
			ID: one.ID, Parents: one.Parents, Type: one.Type, Description: one.Description, InUse: one.InUse, Shared: one.Shared,
			Size: one.Size, CreatedAt: one.Created, LastUsedAt: one.LastUsed, UsageCount: one.Uses,
		})
	}
	return out, nil
}

// found is what takes room, and how much all layers of images together.
type found struct {
	images     []images.Summary
	layers     int64
	containers []container.Summary
	volumes    []volume.Volume
	builds     []build.CacheRecord
}

func newUsage(has found, wants func(string) bool, verbose bool) system.DiskUsage {
	var out system.DiskUsage
	if wants("image") {
		u := &image.DiskUsage{TotalCount: int64(len(has.images)), TotalSize: has.layers}
		for _, i := range has.images {
			if i.Containers > 0 {
				u.ActiveCount++
			} else {
				u.Reclaimable += i.Size - i.SharedSize
			}
			if verbose {
				u.Items = append(u.Items, i.Summary)
			}
		}
		out.ImageUsage = u
	}
	if wants("container") {
		u := &container.DiskUsage{TotalCount: int64(len(has.containers))}
		for _, c := range has.containers {
			u.TotalSize += c.SizeRw
			if c.State == container.StateRunning || c.State == container.StatePaused || c.State == container.StateRestarting {
				u.ActiveCount++
			} else {
				u.Reclaimable += c.SizeRw
			}
		}
		if verbose {
			u.Items = has.containers
		}
		out.ContainerUsage = u
	}
	if wants("volume") {
		u := &volume.DiskUsage{TotalCount: int64(len(has.volumes))}
		for _, v := range has.volumes {
			size := max(v.UsageData.Size, 0) // below 0 it is not known
			u.TotalSize += size
			if v.UsageData.RefCount > 0 {
				u.ActiveCount++
			} else {
				u.Reclaimable += size
			}
		}
		if verbose {
			u.Items = has.volumes
		}
		out.VolumeUsage = u
	}
	if wants("build-cache") {
		u := &build.DiskUsage{TotalCount: int64(len(has.builds))}
		for _, b := range has.builds {
			u.TotalSize += b.Size
			if b.InUse {
				u.ActiveCount++
			} else if !b.Shared {
				u.Reclaimable += b.Size
			}
		}
		if verbose {
			u.Items = has.builds
		}
		out.BuildCacheUsage = u
	}
	return out
}

func oldUsage(has found, wants func(string) bool) *legacyUsage {
	out := &legacyUsage{}
	if wants("image") {
		out.Images, out.LayersSize = has.images, has.layers
	}
	if wants("container") {
		out.Containers = has.containers
	}
	if wants("volume") {
		out.Volumes = has.volumes
	}
	if wants("build-cache") {
		out.BuildCache = has.builds
		for _, b := range has.builds {
			out.BuilderSize += b.Size
		}
	}
	return out
}
