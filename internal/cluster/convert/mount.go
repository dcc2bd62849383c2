package convert

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

func mountOf(m api.Mount) mount.Mount {
	out := mount.Mount{Type: mount.Type(strings.ToLower(m.Type.String())), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
	if b := m.BindOptions; b != nil {
		out.BindOptions = &mount.BindOptions{
			Propagation:  mount.Propagation(strings.ToLower(b.Propagation.String())),
			NonRecursive: b.NonRecursive, CreateMountpoint: b.CreateMountpoint,
			ReadOnlyNonRecursive: b.ReadOnlyNonRecursive, ReadOnlyForceRecursive: b.ReadOnlyForceRecursive,
		}
	}
	if v := m.VolumeOptions; v != nil {
		out.VolumeOptions = &mount.VolumeOptions{NoCopy: v.NoCopy, Labels: v.Labels, Subpath: v.Subpath, DriverConfig: (*mount.Driver)(driverOf(v.DriverConfig))}
	}
	if t := m.TmpfsOptions; t != nil {
		out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: t.SizeBytes, Mode: t.Mode}
		// swarmkit has a text where Docker has lists: what is none of ours is left out
		if json.Unmarshal([]byte(t.Options), &out.TmpfsOptions.Options) != nil {
			out.TmpfsOptions.Options = nil
		}
	}
	return out
}

func mountSpec(m mount.Mount) (api.Mount, error) {
	out := api.Mount{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
	kind, ok := api.Mount_MountType_value[strings.ToUpper(string(m.Type))]
	if !ok && m.Type != "" {
		return out, fmt.Errorf("invalid MountType: %q", m.Type)
	}
	out.Type = api.Mount_MountType(kind)
	if b := m.BindOptions; b != nil {
		propagation, ok := api.Mount_BindOptions_MountPropagation_value[strings.ToUpper(string(b.Propagation))]
		if !ok && b.Propagation != "" {
			return out, fmt.Errorf("invalid MountPropagation: %q", b.Propagation)
		}
		out.BindOptions = &api.Mount_BindOptions{
			Propagation:  api.Mount_BindOptions_MountPropagation(propagation),
			NonRecursive: b.NonRecursive, CreateMountpoint: b.CreateMountpoint,
			ReadOnlyNonRecursive: b.ReadOnlyNonRecursive, ReadOnlyForceRecursive: b.ReadOnlyForceRecursive,
		}
	}
	if v := m.VolumeOptions; v != nil {
		out.VolumeOptions = &api.Mount_VolumeOptions{NoCopy: v.NoCopy, Labels: v.Labels, Subpath: v.Subpath, DriverConfig: driver((*swarm.Driver)(v.DriverConfig))}
	}
	if t := m.TmpfsOptions; t != nil {
		out.TmpfsOptions = &api.Mount_TmpfsOptions{SizeBytes: t.SizeBytes, Mode: t.Mode}
		if len(t.Options) > 0 {
			text, _ := json.Marshal(t.Options) // texts in lists always can be written
			out.TmpfsOptions.Options = string(text)
		}
	}
	return out, nil
}
