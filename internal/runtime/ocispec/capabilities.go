package ocispec

import (
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// capabilityAll stands for every capability in --cap-add and --cap-drop.
const capabilityAll = "ALL"

// capabilities returns what a container may do: Docker's default list changed by
// --cap-add and --cap-drop. all is what the daemon itself has, which is what ALL
// and --privileged mean.
func capabilities(spec model.ContainerSpec, all []string) ([]string, error) {
	if spec.Privileged {
		return slices.Clone(all), nil
	}
	add, err := capabilityNames("CapAdd", spec.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, err := capabilityNames("CapDrop", spec.CapDrop)
	if err != nil {
		return nil, err
	}
	start := defaultCapabilities()
	switch {
	case slices.Contains(add, capabilityAll):
		start, add = slices.Clone(all), nil
	case slices.Contains(drop, capabilityAll):
		start, drop = nil, nil
	}
	out := slices.DeleteFunc(start, func(c string) bool { return slices.Contains(drop, c) })
	for _, c := range add {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// capabilityNames brings names such as "net_admin" into the form CAP_NET_ADMIN.
func capabilityNames(field string, given []string) ([]string, error) {
	known := cap.Known()
	out := make([]string, 0, len(given))
	for _, name := range given {
		full := strings.ToUpper(strings.TrimSpace(name))
		if full == capabilityAll {
			out = append(out, full)
			continue
		}
		if !strings.HasPrefix(full, "CAP_") {
			full = "CAP_" + full
		}
		if !slices.Contains(known, full) {
			return nil, model.Errorf(model.Invalid, "invalid %s: unknown capability: %q", field, full)
		}
		out = append(out, full)
	}
	return out, nil
}

// capabilitySets spreads one list over the sets of a process. Somebody who is
// not root gets none to use at once, as execve(2) would do; setuid programs
// still may have those in the bounding set.
func capabilitySets(list []string, uid uint32) *specs.LinuxCapabilities {
	if uid != 0 {
		return &specs.LinuxCapabilities{Bounding: list}
	}
	return &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}
}
