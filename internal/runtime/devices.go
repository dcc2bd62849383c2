package runtime

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// addDevices puts the asked-for devices into s and allows them in its cgroup.
// A privileged container gets all that the host has.
func addDevices(s *specs.Spec, spec model.ContainerSpec) error {
	if spec.Privileged {
		all, err := oci.HostDevices()
		if err != nil {
			return fmt.Errorf("list host devices: %w", err)
		}
		s.Linux.Devices = all
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: accessAll}}
		return nil
	}
	for _, d := range spec.Devices {
		target, access := d.Target, d.Permissions
		if target == "" {
			target = d.Source
		}
		if access == "" {
			access = accessAll
		}
		if err := addDevice(s, d.Source, target, access); err != nil {
			return &model.Error{Kind: model.Invalid, Err: fmt.Errorf(
				"error gathering device information while adding custom device %q: %w", d.Source, err)}
		}
	}
	return nil
}

// addDevice adds one device or a directory of them. A link such as /dev/cdrom is
// followed, because only the node itself has a number.
func addDevice(s *specs.Spec, source, target, access string) error {
	node, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	return oci.WithDevices(node, target, access)(context.Background(), nil, nil, s)
}
