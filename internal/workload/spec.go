package workload

import (
	"slices"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// spec returns what the runtime needs to make the container.
func (m *Manager) spec(r record, n netns, f files) model.ContainerSpec {
	h := r.Host
	return model.ContainerSpec{
		ID: r.ID, Image: r.Image,
		Hostname: n.hostname, Domain: n.domainname,
		Netns:   n.path,
		HostPID: h.PidMode.IsHost(), HostIPC: h.IpcMode.IsHost(), HostUTS: h.UTSMode.IsHost(),
		Process:        m.process(r),
		Mounts:         m.runtimeMounts(r, f),
		Devices:        devices(h.Devices),
		DeviceRules:    h.DeviceCgroupRules,
		ReadonlyRootfs: h.ReadonlyRootfs, Privileged: h.Privileged,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop, SecurityOpts: h.SecurityOpt,
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths,
		Sysctls: h.Sysctls, Resources: resources(h.Resources),
		ShmSize: h.ShmSize, CgroupParent: h.CgroupParent,
		Init: m.wantsInit(h),
	}
}

// wantsInit tells whether the container's process gets an init before it. Among
// the host's processes it would not be process 1 and could reap nothing.
func (m *Manager) wantsInit(h *container.HostConfig) bool {
	if h.PidMode.IsHost() {
		return false
	}
	if h.Init == nil {
		return m.o.Defaults.Init
	}
	return *h.Init
}

// process returns the container's first process.
func (m *Manager) process(r record) model.Process {
	p := model.Process{
		Args: slices.Concat(r.Config.Entrypoint, r.Config.Cmd),
		Env:  slices.Concat(m.linkEnvironment(r), r.Config.Env), Dir: r.Config.WorkingDir, User: r.Config.User,
		ExtraGroups: r.Host.GroupAdd, TTY: r.Config.Tty,
		Height: r.Host.ConsoleSize[0], Width: r.Host.ConsoleSize[1],
		Stdin: r.Config.OpenStdin, OOMScoreAdj: r.Host.OomScoreAdj,
	}
	for _, u := range r.Host.Ulimits {
		if u != nil {
			p.Rlimits = append(p.Rlimits, model.Rlimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
		}
	}
	return p
}

func devices(given []container.DeviceMapping) []model.Device {
	var out []model.Device
	for _, d := range given {
		out = append(out, model.Device{Source: d.PathOnHost, Target: d.PathInContainer, Permissions: d.CgroupPermissions})
	}
	return out
}

func resources(r container.Resources) model.Resources {
	out := model.Resources{
		Memory: r.Memory, MemorySwap: r.MemorySwap, MemoryReservation: r.MemoryReservation,
		NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod,
		CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		out.Swappiness = *r.MemorySwappiness + 1
	}
	out.NoOOMKiller = r.OomKillDisable != nil && *r.OomKillDisable
	if r.PidsLimit != nil {
		out.Pids = max(*r.PidsLimit, -1) // 0 says nothing, below is "no limit" said aloud
	}
	return out
}
