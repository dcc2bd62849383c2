package containers

import (
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/mounts"
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
		out = append(out, mounts.Inherited(other.snapshot().Mounts, readOnly)...)
	}
	return out, nil
}

// runtimeMounts returns the mounts for the runtime: the user's and the three
// files, unless the user mounted something in their place.
func (s *specs) runtimeMounts(r record, f containerfiles.Files) []model.Mount {
	out := mounts.ForRuntime(s.volumes, r.plain())
	taken := map[string]bool{}
	for _, m := range out {
		taken[m.Target] = true
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
