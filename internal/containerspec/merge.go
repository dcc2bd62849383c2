package containerspec

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// Merge puts what the image says where the user said nothing.
func Merge(c *container.Config, image model.ImageConfig) error {
	if c.User == "" {
		c.User = image.User
	}
	if len(image.ExposedPorts) > 0 {
		ports := maps.Clone(c.ExposedPorts)
		if ports == nil {
			ports = network.PortSet{}
		}
		for _, text := range image.ExposedPorts {
			port, err := network.ParsePort(text)
			if err != nil {
				return model.Errorf(model.Invalid, "image exposes %q: %w", text, err)
			}
			ports[port] = struct{}{}
		}
		c.ExposedPorts = ports
	}
	c.Env = mergeEnv(c.Env, image.Env)
	c.Labels = mergeMaps(c.Labels, image.Labels)
	volumes := map[string]struct{}{}
	for _, v := range image.Volumes {
		volumes[v] = struct{}{}
	}
	if c.Volumes = mergeMaps(c.Volumes, volumes); len(c.Volumes) == 0 {
		c.Volumes = nil
	}
	mergeCommand(c, image)
	mergeHealth(c, image)
	if c.WorkingDir == "" {
		c.WorkingDir = image.WorkingDir
	}
	if c.WorkingDir != "" {
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	if c.StopSignal == "" {
		c.StopSignal = image.StopSignal
	}
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return refuse("no command specified")
	}
	return nil
}

// mergeCommand: an entrypoint of the user's leaves the image's command out; [""]
// is the user's way to have no entrypoint.
func mergeCommand(c *container.Config, image model.ImageConfig) {
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(image.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(image.Entrypoint)
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
}

// mergeEnv appends the image's variables that the user did not set.
func mergeEnv(user, image []string) []string {
	out := slices.Clone(user)
	for _, one := range image {
		name, _, _ := strings.Cut(one, "=")
		set := slices.ContainsFunc(user, func(u string) bool {
			have, _, _ := strings.Cut(u, "=")
			return have == name
		})
		if !set {
			out = append(out, one)
		}
	}
	return out
}

// mergeMaps returns user's entries and those of image that user lacks.
func mergeMaps[V any](user, image map[string]V) map[string]V {
	out := maps.Clone(image)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, user)
	return out
}
