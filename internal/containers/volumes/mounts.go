package volumes

import (
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

// Mounts resolves everything the user asked to be mounted, making volumes
// and bind sources where Docker does. Explicit mounts win over the image's
// volumes; two at one place are refused. inherited
// returns the mounts of the containers that --volumes-from names. After an error Remove
// takes back what was made.
func (s Store) Mounts(c *container.Config, h *container.HostConfig, inherited func() ([]containerspec.MountPoint, error)) ([]containerspec.MountPoint, error) {
	seen := map[string]bool{}
	var out []containerspec.MountPoint
	add := func(p containerspec.MountPoint, err error) error {
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
	for _, bind := range h.Binds {
		if err := add(s.bindPoint(bind)); err != nil {
			return out, err
		}
	}
	for _, spec := range h.Mounts {
		if err := add(s.specPoint(spec)); err != nil {
			return out, err
		}
	}
	for _, target := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		p, err := containerspec.TmpfsPoint(target, h.Tmpfs[target])
		p.Unlisted = true
		if err := add(p, err); err != nil {
			return out, err
		}
	}
	theirs, err := inherited()
	if err != nil {
		return out, err
	}
	for _, p := range theirs {
		if !seen[p.Destination] {
			seen[p.Destination] = true
			out = append(out, p)
		}
	}
	return s.imageVolumes(c, out)
}

// imageVolumes adds an anonymous volume for each that the image or `-v PATH`
// declares and nothing else covers.
func (s Store) imageVolumes(c *container.Config, out []containerspec.MountPoint) ([]containerspec.MountPoint, error) {
	for _, target := range slices.Sorted(maps.Keys(c.Volumes)) {
		clean := filepath.Clean(target)
		if slices.ContainsFunc(out, func(p containerspec.MountPoint) bool { return p.Destination == clean }) {
			continue
		}
		p, err := s.volumePoint("", target)
		if err != nil {
			return out, err
		}
		out = append(out, p)
	}
	return out, nil
}

// bindPoint resolves one `-v` value. A source that is no absolute path is the
// name of a volume.
func (s Store) bindPoint(spec string) (p containerspec.MountPoint, err error) {
	b, err := containerspec.ParseBind(spec)
	if err != nil {
		return p, err
	}
	if filepath.Clean(b.Target) == "/" {
		return p, model.Errorf(model.Invalid, "invalid volume specification: '%s': invalid mount config for type %q: invalid specification: destination can't be '/'", spec, mount.TypeBind)
	}
	if !filepath.IsAbs(b.Source) {
		p, err = s.volumePoint(b.Source, b.Target)
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
func (s Store) specPoint(spec mount.Mount) (p containerspec.MountPoint, err error) {
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
		if p, err = s.volumePoint(spec.Source, spec.Target); err != nil {
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
func (s Store) volumePoint(name, target string) (containerspec.MountPoint, error) {
	if !filepath.IsAbs(target) {
		return containerspec.MountPoint{}, model.Errorf(model.Invalid, "invalid mount config for type \"volume\": invalid mount path: '%s' mount path must be absolute", target)
	}
	anonymous := name == ""
	if anonymous {
		name = ids.New()
	}
	if containerspec.CheckName(name) != nil || len(name) > 255 {
		return containerspec.MountPoint{}, model.Errorf(model.Invalid, "create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name, name)
	}
	if err := s.make(name); err != nil {
		return containerspec.MountPoint{}, err
	}
	return containerspec.MountPoint{Anonymous: anonymous, CopyUp: true, MountPoint: container.MountPoint{Type: mount.TypeVolume, Name: name, Driver: "local",
		Source: s.data(name), Destination: target, Mode: "z", RW: true}}, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
