package containerspec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/model"
)

// MountPoint is a mount as it is reported, and what the runtime needs besides.
type MountPoint struct {
	container.MountPoint
	Options   []string // of a tmpfs
	Anonymous bool     // a volume that goes with the container
	CopyUp    bool     // a volume that takes over what the image has there, if it is empty
	Unlisted  bool     // of --tmpfs: HostConfig tells of it, Mounts does not
}

// Bind is one `-v` value: [SOURCE:]TARGET[:OPTIONS].
type Bind struct {
	Source, Target, Mode string
	ReadOnly, NoCopy     bool
	Propagation          mount.Propagation // empty: the default
}

// ParseBind reads one `-v` value. Errors are Invalid, in Docker's words.
func ParseBind(spec string) (Bind, error) {
	parts := strings.Split(spec, ":")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return Bind{}, model.Errorf(model.Invalid, "invalid volume specification: '%s'", spec)
	}
	if len(parts) == 1 {
		return Bind{Target: parts[0]}, nil
	}
	b := Bind{Source: parts[0], Target: parts[1]}
	if len(parts) == 2 {
		return b, nil
	}
	b.Mode = parts[2]
	for _, option := range strings.Split(b.Mode, ",") {
		switch {
		case option == "ro" || option == "readonly":
			b.ReadOnly = true
		case option == "nocopy":
			b.NoCopy = true
		case slices.Contains(mount.Propagations, mount.Propagation(option)):
			b.Propagation = mount.Propagation(option)
		case !slices.Contains([]string{"rw", "z", "Z", "cached", "delegated", "consistent"}, option):
			return Bind{}, model.Errorf(model.Invalid, "invalid mode: %s", b.Mode)
		}
	}
	return b, nil
}

// CheckVolumeOptions refuses what would make another volume than the one meant.
func CheckVolumeOptions(o *mount.VolumeOptions) error {
	switch {
	case o == nil:
		return nil
	case o.Subpath != "":
		return model.Errorf(model.NotImplemented, "mounting a part of a volume is not supported yet")
	case o.DriverConfig != nil && o.DriverConfig.Name != "" && o.DriverConfig.Name != "local":
		return model.Errorf(model.Invalid, "error looking up volume plugin %s: plugin %q not found", o.DriverConfig.Name, o.DriverConfig.Name)
	case o.DriverConfig != nil && len(o.DriverConfig.Options) > 0:
		return model.Errorf(model.NotImplemented, "options of the volume driver local are not supported yet")
	}
	return nil
}

// TmpfsOptions returns the options of a `--mount type=tmpfs` as mount(8) has them.
func TmpfsOptions(o *mount.TmpfsOptions) []string {
	if o == nil {
		return nil
	}
	var out []string
	if o.SizeBytes > 0 {
		out = append(out, "size="+strconv.FormatInt(o.SizeBytes, 10))
	}
	if o.Mode != 0 {
		out = append(out, fmt.Sprintf("mode=%o", o.Mode))
	}
	for _, pair := range o.Options {
		out = append(out, strings.Join(pair, "="))
	}
	return out
}

// HostPoint returns the mount of a path of the host. Both paths must be absolute, else
// Invalid.
func HostPoint(source, target string) (MountPoint, error) {
	for _, path := range []string{source, target} {
		if !filepath.IsAbs(path) {
			return MountPoint{}, model.Errorf(model.Invalid, "invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute", path)
		}
	}
	return MountPoint{MountPoint: container.MountPoint{Type: mount.TypeBind, Source: filepath.Clean(source),
		Destination: target, RW: true, Propagation: mount.PropagationRPrivate}}, nil
}

// TmpfsPoint returns the mount of a tmpfs with options as --tmpfs has them.
func TmpfsPoint(target, options string) (MountPoint, error) {
	if !filepath.IsAbs(target) {
		return MountPoint{}, model.Errorf(model.Invalid, "invalid mount config for type \"tmpfs\": invalid mount path: '%s' mount path must be absolute", target)
	}
	p := MountPoint{MountPoint: container.MountPoint{Type: mount.TypeTmpfs, Destination: target, RW: true}}
	if options != "" {
		p.Options = strings.Split(options, ",")
	}
	p.RW = !slices.Contains(p.Options, "ro")
	return p, nil
}
