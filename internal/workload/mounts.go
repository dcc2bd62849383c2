package workload

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
)

// dir is where a container's own files lie. IDs are made here or read from
// records of ours, so that they cannot lead elsewhere.
func (m *Manager) dir(id model.ContainerID) string {
	return filepath.Join(m.o.Root, "containers", string(id))
}

// volume is the directory of a volume's data. The name has been checked.
func (m *Manager) volume(name string) string {
	return filepath.Join(m.o.Root, "volumes", name, "_data")
}

// mountPoints resolves everything the user asked to be mounted, making volumes
// and bind sources where Docker does. Explicit mounts win over the image's
// volumes; two at one place are refused.
func (m *Manager) mountPoints(r record) ([]mountPoint, error) {
	seen := map[string]bool{}
	var out []mountPoint
	add := func(p mountPoint, err error) error {
		if err != nil {
			return err
		}
		if p.Destination = filepath.Clean(p.Destination); seen[p.Destination] {
			return model.Errorf(model.Invalid, "Duplicate mount point: %s", p.Destination)
		}
		seen[p.Destination] = true
		out = append(out, p)
		return nil
	}
	for _, bind := range r.Host.Binds {
		if err := add(m.bindPoint(bind)); err != nil {
			return out, err
		}
	}
	for _, spec := range r.Host.Mounts {
		if err := add(m.specPoint(spec)); err != nil {
			return out, err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(r.Host.Tmpfs)) {
		p, err := containerspec.TmpfsPoint(target, r.Host.Tmpfs[target])
		p.Unlisted = true
		if err := add(p, err); err != nil {
			return out, err
		}
	}
	inherited, err := m.inheritedPoints(r)
	if err != nil {
		return out, err
	}
	for _, p := range inherited {
		if !seen[p.Destination] {
			seen[p.Destination] = true
			out = append(out, p)
		}
	}
	return m.imageVolumes(r, out)
}

// imageVolumes adds an anonymous volume for each that the image or `-v PATH`
// declares and nothing else covers.
func (m *Manager) imageVolumes(r record, out []mountPoint) ([]mountPoint, error) {
	for _, target := range slices.Sorted(maps.Keys(r.Config.Volumes)) {
		clean := filepath.Clean(target)
		if slices.ContainsFunc(out, func(p mountPoint) bool { return p.Destination == clean }) {
			continue
		}
		p, err := m.volumePoint("", target)
		if err != nil {
			return out, err
		}
		out = append(out, p)
	}
	return out, nil
}

// bindPoint resolves one `-v` value. A source that is no absolute path is the
// name of a volume.
func (m *Manager) bindPoint(spec string) (p mountPoint, err error) {
	b, err := containerspec.ParseBind(spec)
	if err != nil {
		return p, err
	}
	if filepath.Clean(b.Target) == "/" {
		return p, model.Errorf(model.Invalid, "invalid volume specification: '%s': invalid mount config for type %q: invalid specification: destination can't be '/'", spec, mount.TypeBind)
	}
	if !filepath.IsAbs(b.Source) {
		p, err = m.volumePoint(b.Source, b.Target)
	} else if p, err = containerspec.HostPoint(b.Source, b.Target); err == nil {
		err = makeSource(p.Source) // --mount refuses a missing source
	}
	if b.Mode != "" {
		p.Mode = b.Mode
	}
	if b.Propagation != "" {
		p.Propagation = b.Propagation
	}
	p.RW, p.CopyUp = !b.ReadOnly, p.CopyUp && !b.NoCopy
	return p, err
}

// specPoint translates one `--mount`.
func (m *Manager) specPoint(spec mount.Mount) (p mountPoint, err error) {
	bad := func(format string, args ...any) error {
		return model.Errorf(model.Invalid, "invalid mount config for type %q: %s", spec.Type, fmt.Sprintf(format, args...))
	}
	switch spec.Type {
	case mount.TypeBind:
		if p, err = containerspec.HostPoint(spec.Source, spec.Target); err != nil {
			return p, err
		}
		if o := spec.BindOptions; o != nil {
			if o.Propagation != "" {
				p.Propagation = o.Propagation
			}
			if o.CreateMountpoint {
				if err := makeSource(p.Source); err != nil {
					return p, err
				}
			}
		}
		if !exists(p.Source) {
			return p, bad("bind source path does not exist: %s", p.Source)
		}
	case mount.TypeVolume:
		if err := containerspec.CheckVolumeOptions(spec.VolumeOptions); err != nil {
			return p, err
		}
		if p, err = m.volumePoint(spec.Source, spec.Target); err != nil {
			return p, err
		}
		p.CopyUp = spec.VolumeOptions == nil || !spec.VolumeOptions.NoCopy
	case mount.TypeTmpfs:
		if spec.Source != "" {
			return p, bad("field Source must not be specified")
		}
		if p, err = containerspec.TmpfsPoint(spec.Target, ""); err != nil {
			return p, err
		}
		p.Options = containerspec.TmpfsOptions(spec.TmpfsOptions)
	default:
		return p, model.Errorf(model.Invalid, "mount type unknown: %q", spec.Type)
	}
	p.RW = !spec.ReadOnly
	return p, nil
}

// makeSource makes the directory to bind, unless something is there.
func makeSource(path string) error {
	if exists(path) {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("error while creating mount source path '%s': %w", path, err)
	}
	return nil
}

// volumePoint makes the volume if it is not there. An empty name is an anonymous
// one.
func (m *Manager) volumePoint(name, target string) (mountPoint, error) {
	if !filepath.IsAbs(target) {
		return mountPoint{}, model.Errorf(model.Invalid, "invalid mount config for type \"volume\": invalid mount path: '%s' mount path must be absolute", target)
	}
	anonymous := name == ""
	if anonymous {
		name = ids.New()
	}
	if containerspec.CheckName(name) != nil || len(name) > 255 {
		return mountPoint{}, model.Errorf(model.Invalid, "create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name, name)
	}
	if err := makeVolume(m.o.Root, name); err != nil {
		return mountPoint{}, err
	}
	return mountPoint{Anonymous: anonymous, CopyUp: true, MountPoint: container.MountPoint{Type: mount.TypeVolume, Name: name, Driver: "local",
		Source: m.volume(name), Destination: target, Mode: "z", RW: true}}, nil
}

// inheritedPoints returns the mounts of the containers named by --volumes-from.
func (m *Manager) inheritedPoints(r record) ([]mountPoint, error) {
	var out []mountPoint
	for _, from := range r.Host.VolumesFrom {
		ref, readOnly, err := containerspec.ParseVolumesFrom(from)
		if err != nil {
			return nil, err
		}
		other, err := m.find(ref)
		if err != nil {
			// Not found would make the docker command look for an image.
			return nil, model.Errorf(model.Invalid, "%s", err.Error())
		}
		for _, p := range other.snapshot().Mounts {
			if p.Type == mount.TypeTmpfs {
				continue
			}
			p.Anonymous, p.CopyUp = false, false // the other's to remove and to fill
			p.RW = p.RW && !readOnly
			out = append(out, p)
		}
	}
	return out, nil
}

// removeVolumes deletes the anonymous volumes made for a container.
func (m *Manager) removeVolumes(r record) error {
	var errs []error
	for _, p := range r.Mounts {
		if p.Anonymous {
			errs = append(errs, os.RemoveAll(filepath.Dir(m.volume(p.Name))))
		}
	}
	return errors.Join(errs...)
}

// runtimeMounts returns the mounts for the runtime: the user's and the three
// files, unless the user mounted something in their place.
func (m *Manager) runtimeMounts(r record, f files) []model.Mount {
	var out []model.Mount
	taken := map[string]bool{}
	for _, p := range r.Mounts {
		taken[p.Destination] = true
		kind := "bind"
		if p.Type == mount.TypeTmpfs {
			kind = "tmpfs"
		}
		out = append(out, model.Mount{Type: kind, Source: p.Source, Target: p.Destination,
			ReadOnly: !p.RW, CopyUp: p.CopyUp, Propagation: string(p.Propagation), Options: p.Options})
	}
	for _, own := range []model.Mount{
		{Source: f.resolvConf, Target: "/etc/resolv.conf"},
		{Source: f.hostname, Target: "/etc/hostname"},
		{Source: f.hosts, Target: "/etc/hosts"},
	} {
		// The daemon writes the file itself, which a mount of it does not hinder.
		own.Type, own.ReadOnly = "bind", r.Host.ReadonlyRootfs
		if !taken[own.Target] {
			out = append(out, own)
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
