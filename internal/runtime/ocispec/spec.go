package ocispec

import (
	"maps"
	"math"
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

// Build translates a container into the OCI runtime configuration
// (https://github.com/opencontainers/runtime-spec). It reads nothing but its
// arguments, device files where the container is given devices, and the folders of
// programs where it is given an init.
func Build(spec model.ContainerSpec, user specs.User, host Host) (*specs.Spec, error) {
	if spec.Init {
		var err error
		if host.InitPath, err = findInit(host.InitPath); err != nil {
			return nil, err
		}
	}
	caps, err := capabilities(spec, host.capabilities)
	if err != nil {
		return nil, err
	}
	security, err := parseSecurity(spec.SecurityOpts)
	if err != nil {
		return nil, err
	}
	all, err := mounts(spec, host)
	if err != nil {
		return nil, err
	}
	process, err := firstProcess(spec, user, host)
	if err != nil {
		return nil, err
	}
	process.Capabilities = capabilitySets(caps, user.UID)
	process.NoNewPrivileges = security.noNewPrivileges
	s := &specs.Spec{
		Version: ociVersion,
		Process: process,
		Root:    &specs.Root{Path: "rootfs", Readonly: spec.ReadonlyRootfs},
		Mounts:  all,

		Annotations: spec.Annotations,
		Linux: &specs.Linux{
			CgroupsPath:       CgroupPath(spec),
			Namespaces:        namespacesOf(spec, host),
			Resources:         &specs.LinuxResources{Devices: defaultDeviceRules()},
			RootfsPropagation: rootPropagation(spec.Mounts),
			Sysctl:            sysctls(spec, host),
		},
	}
	if !spec.HostUTS {
		s.Hostname = spec.Hostname
	}
	if err := ApplyLimits(s.Linux.Resources, spec.Resources, host); err != nil {
		return nil, err
	}
	if err := addDevices(s, spec); err != nil {
		return nil, err
	}
	return s, security.confine(s, spec, host)
}

// Check refuses what no container could be made of, as far as the specification
// alone tells: unknown capabilities, security options, limits, and mounts that
// lead nowhere. Create would refuse the same, but only once the container starts.
func (h Host) Check(spec model.ContainerSpec) error {
	_, err := capabilities(spec, h.capabilities)
	if err != nil {
		return err
	}
	o, err := parseSecurity(spec.SecurityOpts)
	if err != nil {
		return err
	}
	if _, err = o.filter(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}}); err != nil {
		return err
	}
	if _, err = rlimits(spec.Process.Rlimits); err != nil {
		return err
	}
	if _, err = deviceRules(spec.DeviceRules); err != nil {
		return err
	}
	_, err = userMounts(spec.Mounts, h)
	return err
}

// firstProcess returns process 1 without its rights.
func firstProcess(spec model.ContainerSpec, user specs.User, host Host) (*specs.Process, error) {
	p := spec.Process
	limits, err := rlimits(p.Rlimits)
	if err != nil {
		return nil, err
	}
	out := &specs.Process{
		Args:        p.Args,
		Env:         Environment(spec.Hostname, p.TTY, p.Env),
		Cwd:         workingDir(p.Dir),
		User:        user,
		Terminal:    p.TTY,
		ConsoleSize: consoleSize(p),
		Rlimits:     limits,
		OOMScoreAdj: oomScore(p.OOMScoreAdj, host),
	}
	if len(out.Args) == 0 {
		return nil, model.Errorf(model.Invalid, "no command specified")
	}
	if spec.Init {
		out.Args = append([]string{initTarget, "--"}, out.Args...)
	}
	return out, nil
}

// oomScore returns the score to write; without it a container would inherit the
// daemon's own, which a service manager may have set very low. A daemon that
// itself has a raised score may not be able to lower it, so nil leaves it then.
func oomScore(asked int, host Host) *int {
	if asked == 0 && host.oomScore > 0 {
		return nil
	}
	return &asked
}

func workingDir(dir string) string {
	if dir == "" {
		return "/"
	}
	return path.Clean(dir)
}

func consoleSize(p model.Process) *specs.Box {
	if !p.TTY || p.Width == 0 || p.Height == 0 {
		return nil
	}
	return &specs.Box{Width: p.Width, Height: p.Height}
}

// rlimits translates limits as `--ulimit` names them. Nothing is set that was
// not asked for: raising a hard limit needs CAP_SYS_RESOURCE, which the daemon
// may lack.
func rlimits(given []model.Rlimit) ([]specs.POSIXRlimit, error) {
	var out []specs.POSIXRlimit
	for _, l := range given {
		if l.Name == "" || strings.Trim(l.Name, "abcdefghijklmnopqrstuvwxyz") != "" {
			return nil, model.Errorf(model.Invalid, "invalid ulimit type: %s", l.Name)
		}
		if soft, hard := rlimitValue(l.Soft), rlimitValue(l.Hard); soft > hard {
			return nil, model.Errorf(model.Invalid,
				"ulimit soft limit must be less than or equal to hard limit: %s > %s",
				strconv.FormatInt(l.Soft, 10), strconv.FormatInt(l.Hard, 10))
		}
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(l.Name),
			Soft: rlimitValue(l.Soft), Hard: rlimitValue(l.Hard)})
	}
	return out, nil
}

// rlimitValue reads -1 as setrlimit(2)'s RLIM_INFINITY.
func rlimitValue(n int64) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}

// namespacesOf returns the namespaces(7) a container does not share with the host.
func namespacesOf(spec model.ContainerSpec, host Host) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, n := range []struct {
		kind specs.LinuxNamespaceType
		own  bool
		path string // of another's
	}{
		{specs.UTSNamespace, !spec.HostUTS, ""},
		{specs.PIDNamespace, !spec.HostPID, spec.PIDNamespace},
		{specs.IPCNamespace, !spec.HostIPC, spec.IPCNamespace},
		{specs.CgroupNamespace, !spec.HostCgroup && host.cgroupns, ""},
	} {
		if n.own {
			out = append(out, specs.LinuxNamespace{Type: n.kind, Path: n.path})
		}
	}
	if spec.Netns != "" {
		out = append(out, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: spec.Netns})
	}
	return out
}

// sysctls returns the user's kernel settings and, in a network namespace of its
// own, Docker's two: any user may bind low ports and send pings.
func sysctls(spec model.ContainerSpec, host Host) map[string]string {
	out := map[string]string{}
	if spec.Netns != "" {
		maps.Copy(out, host.netSysctls)
	}
	if spec.Domain != "" && !spec.HostUTS {
		// runc 1.1 does not know the field `domainname`.
		out["kernel.domainname"] = spec.Domain
	}
	maps.Copy(out, spec.Sysctls)
	return out
}

// CgroupPath returns where the container's cgroup goes. Joining below "/" keeps
// a parent with ".." inside the hierarchy.
func CgroupPath(spec model.ContainerSpec) string {
	parent := spec.CgroupParent
	if parent == "" {
		parent = "/linkspan"
	}
	return path.Join("/", parent, string(spec.ID))
}

// security is what --security-opt says.
type security struct {
	noNewPrivileges bool
	noSeccomp       bool
	seccomp         string // a profile in Docker's format; "" is the engine's own
	noMasks         bool
	apparmor        string // "" is the engine's own profile
}

// parseSecurity reads --security-opt in both of Docker's spellings, "key=value"
// and the older "key:value".
func parseSecurity(given []string) (security, error) {
	var out security
	for _, o := range given {
		key, value, found := strings.Cut(o, "=")
		if !found {
			key, value, found = strings.Cut(o, ":")
		}
		switch {
		case key == "no-new-privileges":
			on, err := strconv.ParseBool(value)
			if found && err != nil {
				return out, model.Errorf(model.Invalid, "invalid --security-opt 2: %q", o)
			}
			out.noNewPrivileges = on || !found
		case key == "seccomp" && value == "unconfined":
			out.noSeccomp = true
		case key == "seccomp" && value == "builtin":
		case key == "seccomp":
			out.seccomp = value
		case key == "apparmor" && value != "":
			out.apparmor = value
		case key == "systempaths" && value == "unconfined":
			out.noMasks = true
		case key == "label": // SELinux: nothing to do where it is not enabled
		default:
			return out, model.Errorf(model.Invalid, "invalid --security-opt 2: %q", o)
		}
	}
	return out, nil
}

// confine writes seccomp, AppArmor and masked paths into s. It comes last: the
// seccomp profile depends on the capabilities.
func (o security) confine(s *specs.Spec, spec model.ContainerSpec, host Host) (err error) {
	privileged := spec.Privileged
	if !privileged && !o.noMasks {
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = spec.MaskedPaths, spec.ReadonlyPaths
		if spec.MaskedPaths == nil {
			s.Linux.MaskedPaths = host.maskedPaths
		}
		if spec.ReadonlyPaths == nil {
			s.Linux.ReadonlyPaths = readonlyPaths()
		}
	}
	if !privileged && !o.noSeccomp {
		if s.Linux.Seccomp, err = o.filter(s); err != nil {
			return err
		}
	}
	switch {
	case !host.apparmor || o.apparmor == "unconfined":
	case o.apparmor != "":
		s.Process.ApparmorProfile = o.apparmor
	case !privileged:
		s.Process.ApparmorProfile = host.apparmorProfile
	}
	return nil
}
