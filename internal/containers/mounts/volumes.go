package mounts

import (
	"context"

	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// Keeper keeps what containers mount by name, from create to removal.
type Keeper interface {
	Volumes
	// Adopt notes what a container of an earlier daemon has, and whether it runs;
	// Adopted, that this was all.
	Adopt(id model.ContainerID, uses []model.VolumeUse, runs bool)
	Adopted()
	// Mount has all there that a container's process will have. It is settled once that
	// is made. Unmount says that the process has ended, or was not made.
	Mount(ctx context.Context, id model.ContainerID, uses []model.VolumeUse) (settled func(), err error)
	Unmount(id model.ContainerID)
	// Release says that a container is gone. The volumes of these names go with it, if
	// nobody else has them.
	Release(ctx context.Context, id model.ContainerID, remove []string) error
	// PartOf returns where the part of a volume comes to lie that a container has there.
	PartOf(id model.ContainerID, target string) string
}

// Uses returns the volumes and the images that a container has mounted.
func Uses(k Keeper, r containerrecord.Record) []model.VolumeUse {
	return containerspec.Uses(r.Mounts, func(target string) string { return k.PartOf(r.ID, target) })
}

// Release lets go of the volumes of a container that is gone, or was never made. With
// remove, those that it did not name go with it.
func Release(ctx context.Context, k Keeper, r containerrecord.Record, remove bool) error {
	var names []string
	for _, p := range r.Mounts {
		if remove && p.Anonymous {
			names = append(names, p.Name)
		}
	}
	return k.Release(ctx, r.ID, names)
}

// Inherited returns what a container gets of another's mounts.
func Inherited(of []containerspec.MountPoint, readOnly bool) []containerspec.MountPoint {
	var out []containerspec.MountPoint
	for _, p := range of {
		if p.Unlisted {
			continue
		}
		p.CopyUp, p.Mode = false, "" // the other's to fill
		p.RW = p.RW && !readOnly
		out = append(out, p)
	}
	return out
}

// ForRuntime returns a container's mounts as the runtime is told of them.
func ForRuntime(k Keeper, r containerrecord.Record) []model.Mount {
	out := make([]model.Mount, 0, len(r.Mounts))
	for _, p := range r.Mounts {
		one := model.Mount{
			Type: "bind", Source: p.Source, Target: p.Destination,
			ReadOnly: !p.RW, CopyUp: p.CopyUp, Propagation: string(p.Propagation), Options: p.Options,
			NonRecursive: p.NonRecursive, ReadOnlyNonRecursive: p.ReadOnlyNonRecursive, ReadOnlyForceRecursive: p.ReadOnlyForceRecursive,
		}
		if p.Type == mount.TypeTmpfs {
			one.Type = "tmpfs"
		}
		if p.Subpath != "" || p.ImageID() != "" {
			one.Source = k.PartOf(r.ID, p.Destination)
		}
		out = append(out, one)
	}
	return out
}
