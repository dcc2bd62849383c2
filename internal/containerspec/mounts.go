package containerspec

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	sysmount "github.com/moby/sys/mount"

	"github.com/linkspan/linkspan/internal/model"
)

// MountPoint is a mount as it is reported, and what the runtime needs besides.
type MountPoint struct {
	container.MountPoint
	Options   []string // of a tmpfs
	Anonymous bool     // a volume that goes with the container
	CopyUp    bool     // a volume that takes over what the image has there, if it is empty
	Unlisted  bool     // of --tmpfs: HostConfig tells of it, Mounts does not
	Subpath   string   // the part of a volume or an image that is mounted; empty: all of it

	NonRecursive           bool // a bind without what is mounted below its source
	ReadOnlyNonRecursive   bool // what is mounted below stays as it is
	ReadOnlyForceRecursive bool // no mount at all rather than one that is not read-only below
}

// ImageID returns the image whose files a mount shows; empty for any other mount.
func (p MountPoint) ImageID() model.ImageID {
	if p.Type != mount.TypeImage {
		return ""
	}
	return model.ImageID(p.Source)
}

// Uses returns the volumes and images among mounts; part says where a part of one comes to lie.
func Uses(points []MountPoint, part func(target string) string) []model.VolumeUse {
	var out []model.VolumeUse
	for _, p := range points {
		u := model.VolumeUse{Name: p.Name, Target: p.Destination, ReadOnly: !p.RW, Subpath: p.Subpath, Image: p.ImageID()}
		switch {
		case u.Image != "":
			u.Name = "" // the image's
		case p.Type != mount.TypeVolume:
			continue
		}
		if u.Subpath != "" || u.Image != "" {
			u.Part = part(p.Destination)
		}
		out = append(out, u)
	}
	return out
}

// modes are the words of a mount's third part, by what they say; of each at most one.
var modes = [][]string{
	{"rw", "ro"},
	{"z", "Z"},
	{"private", "rprivate", "slave", "rslave", "shared", "rshared"},
	{"nocopy"},
	{"consistent", "cached", "delegated"},
}

// validMode tells whether a mode is one.
func validMode(mode string) bool {
	if mode == "" {
		return true
	}
	seen := make([]bool, len(modes))
	for word := range strings.SplitSeq(mode, ",") {
		kind := slices.IndexFunc(modes, func(words []string) bool { return slices.Contains(words, word) })
		if kind < 0 || seen[kind] {
			return false
		}
		seen[kind] = true
	}
	return true
}

// ParseBind reads one `-v` value, [SOURCE:]TARGET[:MODE], as the mount that it means.
// Volumes in it are driver's; empty leaves that open. Errors are Invalid, in Docker's
// words.
func ParseBind(raw, driver string) (mount.Mount, string, error) {
	bad := model.Errorf(model.Invalid, "invalid volume specification: '%s'", raw)
	parts := strings.SplitN(raw, ":", 4)
	var m mount.Mount
	mode := ""
	switch {
	case parts[0] == "", len(parts) > 3, len(parts) == 2 && validMode(parts[1]):
		return m, "", bad
	case len(parts) == 1:
		m.Target = parts[0]
	default:
		m.Source, m.Target = parts[0], parts[1]
	}
	if len(parts) == 3 {
		mode = parts[2]
	}
	if !validMode(mode) {
		return m, "", model.Errorf(model.Invalid, "invalid mode: %s", mode)
	}
	m.Type = mount.TypeVolume
	if path.IsAbs(m.Source) {
		m.Type = mount.TypeBind
	} else if driver != "" {
		m.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: driver}}
	}
	for word := range strings.SplitSeq(mode, ",") {
		switch {
		case word == "ro":
			m.ReadOnly = true
		case word == "nocopy":
			if m.VolumeOptions == nil {
				m.VolumeOptions = &mount.VolumeOptions{}
			}
			m.VolumeOptions.NoCopy = true
		case slices.Contains(modes[2], word):
			m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(word)}
		}
	}
	if err := CheckMount(m); err != nil {
		return m, mode, model.Errorf(model.Invalid, "%w: %w", bad, err)
	}
	return m, mode, nil
}

// CheckMount refuses what cannot be mounted, as far as the request alone tells. Errors
// are in Docker's words.
func CheckMount(m mount.Mount) error {
	err := checkExclusive(m)
	if err == nil {
		err = checkTarget(m.Target)
	}
	if err == nil {
		switch m.Type {
		case mount.TypeBind:
			err = checkBind(m)
		case mount.TypeVolume:
			err = checkVolume(m)
		case mount.TypeTmpfs:
			err = checkTmpfs(m)
		case mount.TypeImage:
			err = checkImage(m)
		default:
			err = errors.New("mount type unknown")
		}
	}
	if err != nil {
		return model.Errorf(model.Invalid, "invalid mount config for type %q: %w", m.Type, err)
	}
	return nil
}

// checkExclusive refuses options of another type of mount.
func checkExclusive(m mount.Mount) error {
	for _, o := range []struct {
		given bool
		of    mount.Type
		name  string
	}{
		{m.BindOptions != nil, mount.TypeBind, "BindOptions"},
		{m.VolumeOptions != nil, mount.TypeVolume, "VolumeOptions"},
		{m.ImageOptions != nil, mount.TypeImage, "ImageOptions"},
		{m.TmpfsOptions != nil, mount.TypeTmpfs, "TmpfsOptions"},
		{m.ClusterOptions != nil, mount.TypeCluster, "ClusterOptions"},
	} {
		if o.given && m.Type != o.of {
			return fmt.Errorf("field %s must not be specified", o.name)
		}
	}
	return nil
}

func checkTarget(target string) error {
	switch {
	case target == "":
		return errors.New("field Target must not be empty")
	case path.Clean(target) == "/":
		return errors.New("invalid specification: destination can't be '/'")
	}
	return checkAbsolute(target)
}

func checkAbsolute(p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", p)
	}
	if strings.ContainsRune(p, 0) {
		return fmt.Errorf("invalid mount path: %q has a NUL byte", p)
	}
	return nil
}

func checkBind(m mount.Mount) error {
	if m.Source == "" {
		return errors.New("field Source must not be empty")
	}
	if o := m.BindOptions; o != nil {
		if o.Propagation != "" && !slices.Contains(modes[2], string(o.Propagation)) {
			return fmt.Errorf("invalid propagation mode: %s", o.Propagation)
		}
		for _, conflict := range []struct {
			is   bool
			text string
		}{
			{!m.ReadOnly && o.ReadOnlyNonRecursive, "!ReadOnly && BindOptions.ReadOnlyNonRecursive"},
			{!m.ReadOnly && o.ReadOnlyForceRecursive, "!ReadOnly && BindOptions.ReadOnlyForceRecursive"},
			{o.ReadOnlyNonRecursive && o.ReadOnlyForceRecursive, "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive"},
		} {
			if conflict.is {
				return errors.New("mount options conflict: " + conflict.text)
			}
		}
	}
	return checkAbsolute(m.Source)
}

func checkVolume(m mount.Mount) error {
	if m.VolumeOptions == nil || m.VolumeOptions.Subpath == "" {
		return nil
	}
	if m.Source == "" {
		return errors.New("must not set Subpath when using anonymous volumes")
	}
	return checkSubpath(m.VolumeOptions.Subpath)
}

func checkSubpath(sub string) error {
	if !filepath.IsLocal(sub) || strings.ContainsRune(sub, 0) {
		return errors.New("subpath must be a relative path within the volume")
	}
	return nil
}

func checkImage(m mount.Mount) error {
	if m.Source == "" {
		return errors.New("field Source must not be empty")
	}
	if m.ImageOptions == nil || m.ImageOptions.Subpath == "" {
		return nil
	}
	return checkSubpath(m.ImageOptions.Subpath)
}

func checkTmpfs(m mount.Mount) error {
	if m.Source != "" {
		return errors.New("field Source must not be specified")
	}
	_, err := tmpfsOptions(m)
	return err
}

// tmpfsOptions returns the options of a `--mount type=tmpfs` as mount(8) has them.
func tmpfsOptions(m mount.Mount) ([]string, error) {
	var out []string
	if m.ReadOnly {
		out = append(out, "ro")
	}
	o := m.TmpfsOptions
	if o == nil {
		return out, nil
	}
	if o.Mode != 0 {
		out = append(out, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes != 0 {
		out = append(out, "size="+strconv.FormatInt(o.SizeBytes, 10))
	}
	for _, pair := range o.Options {
		if len(pair) < 1 || len(pair) > 2 {
			return nil, errors.New("invalid option array length")
		}
		if pair[0] != "exec" && pair[0] != "noexec" {
			return nil, errors.New("invalid option: " + pair[0])
		}
		out = append(out, strings.Join(pair, "="))
	}
	return out, nil
}

// Point returns what CheckMount has passed as it is reported. What is only known of the
// volume is left out.
func Point(m mount.Mount) (MountPoint, error) {
	p := MountPoint{MountPoint: container.MountPoint{Type: m.Type, Destination: path.Clean(m.Target), RW: !m.ReadOnly}}
	switch m.Type {
	case mount.TypeBind:
		p.Source, p.Propagation = path.Clean(m.Source), mount.PropagationRPrivate
		if o := m.BindOptions; o != nil {
			if o.Propagation != "" {
				p.Propagation = o.Propagation
			}
			p.NonRecursive, p.ReadOnlyNonRecursive, p.ReadOnlyForceRecursive = o.NonRecursive, o.ReadOnlyNonRecursive, o.ReadOnlyForceRecursive
		}
	case mount.TypeVolume:
		p.Name, p.Anonymous, p.CopyUp = m.Source, m.Source == "", true
		if o := m.VolumeOptions; o != nil {
			p.CopyUp, p.Subpath = !o.NoCopy, o.Subpath
		}
	case mount.TypeImage: // read-only, whatever is asked for
		p.Name, p.RW = m.Source, false
		if o := m.ImageOptions; o != nil {
			p.Subpath = o.Subpath
		}
	case mount.TypeTmpfs:
		var err error
		if p.Options, err = tmpfsOptions(m); err != nil {
			return p, err
		}
		return p, checkMountOptions(p.Options)
	}
	return p, nil
}

// TmpfsPoint returns the mount of a tmpfs with options as --tmpfs has them.
func TmpfsPoint(target, options string) (MountPoint, error) {
	if err := checkTarget(target); err != nil {
		return MountPoint{}, model.Errorf(model.Invalid, "%w", err)
	}
	p := MountPoint{Unlisted: true, MountPoint: container.MountPoint{Type: mount.TypeTmpfs, Destination: path.Clean(target)}}
	if options != "" {
		p.Options = strings.Split(options, ",")
	}
	p.RW = !slices.Contains(p.Options, "ro")
	return p, checkMountOptions(p.Options)
}

// checkMountOptions refuses what tmpfs(5) does not have: the kernel's words would come
// only with the start.
func checkMountOptions(options []string) error {
	if _, err := sysmount.MergeTmpfsOptions(options); err != nil {
		return model.Errorf(model.Invalid, "%w", err)
	}
	return nil
}
