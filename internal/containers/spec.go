package containers

import (
	"slices"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// specs says what the runtime needs to make containers.
type specs struct {
	dirs     containerfiles.Dirs
	files    *netfiles.Files
	defaults *Defaults
	volumes  Volumes
}

// spec returns what the runtime needs to make the container.
func (s *specs) spec(r record, n netns, f containerfiles.Files) model.ContainerSpec {
	h := r.Host
	out := model.ContainerSpec{
		ID: r.ID, Image: r.Image,
		Hostname: n.hostname, Domain: n.domainname,
		Netns:   n.path,
		HostPID: h.PidMode.IsHost(), HostIPC: h.IpcMode.IsHost(), HostUTS: h.UTSMode.IsHost(), HostCgroup: h.CgroupnsMode.IsHost(),
		Process:        s.process(r),
		Mounts:         s.runtimeMounts(r, f),
		Devices:        containerspec.Devices(h.Devices),
		DeviceRules:    h.DeviceCgroupRules,
		ReadonlyRootfs: h.ReadonlyRootfs, Privileged: h.Privileged,
		CapAdd: h.CapAdd, CapDrop: h.CapDrop, SecurityOpts: h.SecurityOpt,
		MaskedPaths: h.MaskedPaths, ReadonlyPaths: h.ReadonlyPaths,
		Sysctls: h.Sysctls, Resources: containerspec.Resources(h.Resources),
		ShmSize: h.ShmSize, CgroupParent: h.CgroupParent,
		Init: containerspec.WantsInit(h, s.defaults.Init), Annotations: h.Annotations,
	}
	out.Runtime, _ = s.defaults.Changing().Runtimes.Find(h.Runtime) // one that is no more is runc
	s.shareSpec(&out, r)
	return out
}

// process returns the container's first process.
func (s *specs) process(r record) model.Process {
	p := model.Process{
		Args: slices.Concat(r.Config.Entrypoint, r.Config.Cmd),
		Env:  slices.Concat(s.files.LinkEnvironment(r.plain()), r.Config.Env), Dir: r.Config.WorkingDir, User: r.Config.User,
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
