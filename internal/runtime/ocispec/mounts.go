package ocispec

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	sysmount "github.com/moby/sys/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	initTarget = "/sbin/docker-init"
	shmTarget  = "/dev/shm"
)

// mounts returns everything mounted in the container, parents before children.
// A user's mount takes the place of ours at the same path.
func mounts(spec model.ContainerSpec, host Host) ([]specs.Mount, error) {
	users, err := userMounts(spec.Mounts, host)
	if err != nil {
		return nil, err
	}
	taken := func(target string) bool {
		return slices.ContainsFunc(users, func(m specs.Mount) bool {
			return m.Destination == target || m.Destination == "/dev" && strings.HasPrefix(target, "/dev/")
		})
	}
	out := slices.DeleteFunc(engineMounts(spec, host), func(m specs.Mount) bool {
		return taken(m.Destination) || spec.NoSharedMemory && m.Destination == shmTarget
	})
	if spec.Init {
		out = append(out, specs.Mount{Destination: initTarget, Type: "bind", Source: host.InitPath,
			Options: []string{"bind", "ro"}})
	}
	return append(out, users...), nil
}

// engineMounts returns the default file systems as spec changes them.
func engineMounts(spec model.ContainerSpec, host Host) []specs.Mount {
	out := defaultMounts()
	size := spec.ShmSize
	if size == 0 {
		size = defaultShmSize
	}
	out = append(out, specs.Mount{Destination: shmTarget, Type: "tmpfs", Source: "shm",
		Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", size)}})
	for i := range out {
		// The message queues of the host's namespace come with mounting them in it.
		if source := memorySource(spec, host); source != "" && out[i].Destination == shmTarget {
			out[i] = specs.Mount{Destination: out[i].Destination, Type: "bind", Source: source,
				Options: []string{"rbind", "nosuid", "noexec", "nodev"}}
		}
		if spec.Privileged && strings.HasPrefix(out[i].Destination, "/sys") {
			out[i].Options = slices.DeleteFunc(out[i].Options, func(o string) bool { return o == "ro" })
		}
	}
	return out
}

// memorySource returns what is bound at /dev/shm; empty if the container has a tmpfs of
// its own there.
func memorySource(spec model.ContainerSpec, host Host) string {
	switch {
	case spec.HostIPC:
		return shmTarget
	case spec.SharedMemory != "":
		return filepath.Join(host.ShmDir, string(spec.SharedMemory))
	}
	return ""
}

// userMounts translates the mounts that the user asked for.
func userMounts(given []model.Mount, host Host) ([]specs.Mount, error) {
	out := make([]specs.Mount, 0, len(given))
	for _, m := range given {
		target, err := mountTarget(m)
		if err != nil {
			return nil, err
		}
		one := specs.Mount{Destination: target, Type: m.Type}
		switch m.Type {
		case "bind":
			if !path.IsAbs(m.Source) {
				return nil, model.Errorf(model.Invalid,
					"invalid mount config for type %q: invalid mount path: '%s' mount path must be absolute", m.Type, m.Source)
			}
			one.Source = path.Clean(m.Source)
			if one.Options, err = bindOptions(m, host); err != nil {
				return nil, err
			}
		case "tmpfs":
			one.Source = "tmpfs"
			one.Options, err = sysmount.MergeTmpfsOptions(append([]string{"noexec", "nosuid", "nodev", "rprivate"}, m.Options...))
			if err != nil {
				return nil, model.Errorf(model.Invalid, "%w", err)
			}
		default:
			return nil, model.Errorf(model.Invalid, "mount type unknown: %q", m.Type)
		}
		out = append(out, one)
	}
	slices.SortStableFunc(out, func(a, b specs.Mount) int {
		return cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/"))
	})
	return out, nil
}

// mountTarget cleans the path in the container, so that ".." cannot lead a
// comparison with our own mounts astray.
func mountTarget(m model.Mount) (string, error) {
	if !path.IsAbs(m.Target) {
		return "", model.Errorf(model.Invalid,
			"invalid mount config for type %q: invalid mount path: '%s' mount path must be absolute", m.Type, m.Target)
	}
	target := path.Clean(m.Target)
	if target == "/" {
		return "", model.Errorf(model.Invalid, "invalid specification: destination can't be '/'")
	}
	return target, nil
}

// bindOptions returns the options of a bind mount. A read-only one is made so
// all the way down where the kernel can (mount_setattr(2), Linux 5.12), else a
// file system mounted below the source would stay writable.
func bindOptions(m model.Mount, host Host) ([]string, error) {
	propagation := m.Propagation
	if propagation == "" {
		propagation = "rprivate"
	}
	bind := "rbind"
	if m.NonRecursive {
		bind = "bind"
	}
	access := []string{"rw"}
	if m.ReadOnly {
		access = []string{"ro"}
		switch {
		case m.ReadOnlyNonRecursive:
		case host.recursiveReadOnly:
			access = []string{"ro", "rro"}
		case m.ReadOnlyForceRecursive:
			return nil, model.Errorf(model.Invalid, "recursively read-only mounts are not supported: need kernel 5.12 or later")
		}
	}
	out := append([]string{bind}, access...)
	out = append(out, propagation)
	return append(out, m.Options...), nil
}

// rootPropagation returns how mount events must pass between the host and the
// container's root so that every mount can have the propagation it asks for.
func rootPropagation(given []model.Mount) string {
	out := ""
	for _, m := range given {
		switch m.Propagation {
		case "shared", "rshared":
			return "shared"
		case "slave", "rslave":
			out = "rslave"
		}
	}
	return out
}
