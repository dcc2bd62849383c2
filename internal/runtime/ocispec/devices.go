package ocispec

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"

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
	rules, err := deviceRules(spec.DeviceRules)
	if err != nil {
		return err
	}
	s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, rules...)
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
	before := len(s.Linux.Devices)
	err = oci.WithDevices(node, target, access)(context.Background(), nil, nil, s)
	if errors.Is(err, oci.ErrNotADevice) || err == nil && len(s.Linux.Devices) == before { // a folder without devices
		return oci.ErrNotADevice
	}
	return err
}

// deviceRule is one rule as `--device-cgroup-rule` has them: "c 13:* rwm".
var deviceRule = regexp.MustCompile(`^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$`)

// deviceRules translates further rules of the device cgroup.
func deviceRules(given []string) ([]specs.LinuxDeviceCgroup, error) {
	var out []specs.LinuxDeviceCgroup
	for _, text := range given {
		parts := deviceRule.FindStringSubmatch(text)
		if parts == nil {
			return nil, model.Errorf(model.Invalid, "invalid device cgroup rule format: '%s'", text)
		}
		rule := specs.LinuxDeviceCgroup{Allow: true, Type: parts[1], Access: parts[4]}
		for _, n := range []struct {
			text string
			to   **int64
		}{{parts[2], &rule.Major}, {parts[3], &rule.Minor}} {
			number := int64(-1) // all of them
			if n.text != "*" {
				var err error
				if number, err = strconv.ParseInt(n.text, 10, 32); err != nil {
					return nil, model.Errorf(model.Invalid, "invalid device cgroup rule format: '%s': %s is too large a number", text, n.text)
				}
			}
			*n.to = &number
		}
		out = append(out, rule)
	}
	return out, nil
}
