package containerspec

import (
	"github.com/moby/moby/api/types/container"
)

// Warnings returns what Docker remarks on a container that it makes all the
// same, and what of the request is kept but has no effect.
func Warnings(r Request, on Machine) []string {
	mode := r.Host.NetworkMode
	var out []string
	if mode.IsHost() && (len(r.Host.PortBindings) > 0 || r.Host.PublishAllPorts) {
		out = append(out, "Published ports are discarded when using host network mode")
	}
	if mode.IsBridge() && len(r.Host.Links) > 0 {
		out = append(out, "Links on the default bridge network are deprecated and will be removed in a future release. Use a custom network instead.")
	}
	out = append(out, memoryWarnings(r.Host.Resources, on.MemoryV1)...)
	if mode := r.Host.CgroupnsMode; mode.IsPrivate() && !on.Cgroupns {
		out = append(out, "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded.")
	}
	return out
}

// memoryWarnings returns Docker's remarks on settings that only cgroups of version 1
// have, or that are dangerous.
func memoryWarnings(r container.Resources, v1 bool) []string {
	var out []string
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 && !v1 {
		out = append(out, "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.")
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		if !v1 {
			out = append(out, "Your kernel does not support OomKillDisable. OomKillDisable discarded.")
		} else if r.Memory == 0 {
			out = append(out, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
		}
	}
	return out
}
