package containerspec

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// ParseVolumesFrom reads "container" or "container:mode". Errors are Invalid, in
// Docker's words.
func ParseVolumesFrom(spec string) (ref string, readOnly bool, err error) {
	if spec == "" {
		return "", false, refuse("volumes-from specification cannot be an empty string")
	}
	ref, mode, _ := strings.Cut(spec, ":")
	if mode == "" {
		return ref, false, nil
	}
	// Of each kind at most one; what a mount passes on stays the other's.
	var seen [3]bool
	for word := range strings.SplitSeq(mode, ",") {
		kind := slices.IndexFunc([][]string{{"rw", "ro"}, {"z", "Z"}, {"consistent", "cached", "delegated"}},
			func(words []string) bool { return slices.Contains(words, word) })
		if kind < 0 || seen[kind] {
			return "", false, model.Errorf(model.Invalid, "invalid mode: %s", mode)
		}
		seen[kind] = true
		readOnly = readOnly || word == "ro"
	}
	return ref, readOnly, nil
}

// CheckVolumeDriver refuses a driver of volumes that there is not, if the container
// has a volume of it. The request has what its image says.
func CheckVolumeDriver(r Request) error {
	driver := r.Host.VolumeDriver
	if driver == "" || driver == "local" || !ofDefaultDriver(r.Config, r.Host) {
		return nil
	}
	return model.Errorf(model.Invalid, "error looking up volume plugin %s: plugin %q not found", driver, driver)
}

// ofDefaultDriver tells whether a container has a volume that does not name its
// driver: of -v, or one that is declared and that nothing is mounted on.
func ofDefaultDriver(c *container.Config, h *container.HostConfig) bool {
	covered := map[string]bool{}
	for _, text := range h.Binds {
		b, err := ParseBind(text)
		if err == nil && !filepath.IsAbs(b.Source) {
			return true
		}
		covered[filepath.Clean(b.Target)] = true
	}
	for _, mount := range h.Mounts {
		covered[filepath.Clean(mount.Target)] = true
	}
	for target := range h.Tmpfs {
		covered[filepath.Clean(target)] = true
	}
	for target := range c.Volumes {
		if !covered[filepath.Clean(target)] {
			return true
		}
	}
	return false
}
