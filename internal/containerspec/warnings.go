package containerspec

import (
	"strings"

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
	if idle := withoutEffect(r); len(idle) > 0 {
		out = append(out, "Not supported by this version yet, and without effect: "+strings.Join(idle, ", "))
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

// withoutEffect names the options that are stored and shown, and do nothing.
func withoutEffect(r Request) []string {
	h := r.Host
	var out []string
	for _, option := range []struct {
		set  bool
		name string
	}{
		{h.BlkioWeight != 0 || len(h.BlkioWeightDevice) > 0 || len(h.BlkioDeviceReadBps) > 0 || len(h.BlkioDeviceWriteBps) > 0 ||
			len(h.BlkioDeviceReadIOps) > 0 || len(h.BlkioDeviceWriteIOps) > 0, "limits on block devices"},
		{h.CPURealtimePeriod != 0 || h.CPURealtimeRuntime != 0, "real-time scheduling"},
		{len(h.StorageOpt) > 0, "storage options"},
	} {
		if option.set {
			out = append(out, option.name)
		}
	}
	return out
}
