package containers

import (
	"context"

	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// inheritedPoints returns the mounts of the containers named by --volumes-from.
func (cr *creator) inheritedPoints(r record) ([]mountPoint, error) {
	var out []mountPoint
	for _, from := range r.Host.VolumesFrom {
		ref, readOnly, err := containerspec.ParseVolumesFrom(from)
		if err != nil {
			return nil, err
		}
		other, err := cr.find(ref)
		if err != nil {
			// Not found would make the docker command look for an image.
			return nil, model.Errorf(model.Invalid, "%s", err.Error())
		}
		for _, p := range other.snapshot().Mounts {
			if p.Unlisted {
				continue
			}
			p.CopyUp, p.Mode = false, "" // the other's to fill
			p.RW = p.RW && !readOnly
			out = append(out, p)
		}
	}
	return out, nil
}

// release lets go of the volumes of a container that is gone, or was never made. With
// remove, those that it did not name go with it.
func release(ctx context.Context, v Volumes, r record, remove bool) error {
	var names []string
	for _, p := range r.Mounts {
		if remove && p.Anonymous {
			names = append(names, p.Name)
		}
	}
	return v.Release(ctx, r.ID, names)
}

// volumesOf returns the volumes that a container has.
func volumesOf(v Volumes, r record) []model.VolumeUse {
	return containerspec.Uses(r.Mounts, func(target string) string { return v.PartOf(r.ID, target) })
}

// runtimeMounts returns the mounts for the runtime: the user's and the three
// files, unless the user mounted something in their place.
func (s *specs) runtimeMounts(r record, f containerfiles.Files) []model.Mount {
	var out []model.Mount
	taken := map[string]bool{}
	for _, p := range r.Mounts {
		taken[p.Destination] = true
		kind := "bind"
		if p.Type == mount.TypeTmpfs {
			kind = "tmpfs"
		}
		out = append(out, model.Mount{Type: kind, Source: p.Source, Target: p.Destination,
			ReadOnly: !p.RW, CopyUp: p.CopyUp, Propagation: string(p.Propagation), Options: p.Options,
			NonRecursive: p.NonRecursive, ReadOnlyNonRecursive: p.ReadOnlyNonRecursive, ReadOnlyForceRecursive: p.ReadOnlyForceRecursive})
		if p.Subpath != "" {
			out[len(out)-1].Source = s.volumes.PartOf(r.ID, p.Destination)
		}
	}
	for _, own := range []model.Mount{
		{Source: f.ResolvConf, Target: "/etc/resolv.conf"},
		{Source: f.Hostname, Target: "/etc/hostname"},
		{Source: f.Hosts, Target: "/etc/hosts"},
	} {
		// The daemon writes the file itself, which a mount of it does not hinder.
		own.Type, own.ReadOnly = "bind", r.Host.ReadonlyRootfs
		if !taken[own.Target] {
			out = append(out, own)
		}
	}
	return out
}
