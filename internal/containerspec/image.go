package containerspec

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/linkspan/linkspan/internal/model"
)

// Bounds of what an image may ask to be made for a container. Its author is not the
// user, who may ask for what he likes.
const (
	MaxImageVolumes = 512
	MaxImagePorts   = 3 * 65535 // every port of every protocol
	MaxImageLabels  = 16384
	MaxImageEnv     = 16384
)

// FromImage returns what an image's configuration says, without what it cannot mean: that
// is left to the default, as Docker does, where nobody loses by it. Refused is what a
// default would turn into something else than the image's author wanted, such as root
// for a user that nobody can be, and what is boundless.
func FromImage(c model.ImageConfig) (model.ImageConfig, error) {
	for _, bound := range []struct {
		what     string
		has, max int
	}{
		{"volumes", len(c.Volumes), MaxImageVolumes}, {"exposed ports", len(c.ExposedPorts), MaxImagePorts},
		{"labels", len(c.Labels), MaxImageLabels}, {"environment variables", len(c.Env), MaxImageEnv},
	} {
		if bound.has > bound.max {
			return c, model.Errorf(model.Invalid, "the image's configuration has %d %s, at most %d are allowed", bound.has, bound.what, bound.max)
		}
	}
	for _, text := range slices.Concat([]string{c.User, c.WorkingDir}, c.Entrypoint, c.Cmd, c.Shell) {
		if strings.ContainsRune(text, 0) {
			return c, model.Errorf(model.Invalid, "the image's configuration has a NUL byte in %q", text)
		}
	}
	if c.WorkingDir != "" {
		c.WorkingDir = path.Join("/", c.WorkingDir)
	}
	if s, err := signal.ParseSignal(c.StopSignal); err != nil || !signal.ValidSignalForPlatform(s) {
		c.StopSignal = ""
	}
	c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(e string) bool { return CheckEnv([]string{e}) != nil })
	c.ExposedPorts = slices.DeleteFunc(slices.Clone(c.ExposedPorts), func(text string) bool {
		port, err := network.ParsePort(text)
		return err != nil || !slices.Contains([]network.IPProtocol{network.TCP, network.UDP, network.SCTP}, port.Proto())
	})
	c.Volumes = meantVolumes(c.Volumes)
	c.Healthcheck = meantHealth(c.Healthcheck)
	return c, nil
}

// meantVolumes leaves out what is no place for a volume.
func meantVolumes(given []string) []string {
	var out []string
	for _, v := range given {
		clean := path.Join("/", v)
		if clean != "/" && !strings.ContainsRune(v, 0) && !slices.Contains(out, clean) {
			out = append(out, clean)
		}
	}
	return out
}

// meantHealth leaves to the defaults the times and counts that a user would be refused:
// a probe must never follow the other without a pause.
func meantHealth(given *model.Healthcheck) *model.Healthcheck {
	if given == nil {
		return nil
	}
	h := *given
	for _, d := range []*time.Duration{&h.Interval, &h.Timeout, &h.StartPeriod, &h.StartInterval} {
		if *d < container.MinimumDuration {
			*d = 0
		}
	}
	h.Retries = max(h.Retries, 0)
	for _, word := range h.Test {
		if strings.ContainsRune(word, 0) {
			h.Test = nil
		}
	}
	if len(h.Test) > 0 && h.Test[0] != "NONE" && len(h.Test) < 2 {
		h.Test = nil
	}
	return &h
}

// ImageConfig returns a container's configuration as that of an image.
func ImageConfig(c *container.Config) model.ImageConfig {
	out := model.ImageConfig{
		User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir, Labels: c.Labels,
		StopSignal: c.StopSignal, Shell: c.Shell, OnBuild: c.OnBuild, Volumes: slices.Sorted(maps.Keys(c.Volumes)),
	}
	for port := range c.ExposedPorts {
		out.ExposedPorts = append(out.ExposedPorts, port.String())
	}
	slices.Sort(out.ExposedPorts)
	if h := c.Healthcheck; h != nil {
		out.Healthcheck = &model.Healthcheck{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
			StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
	}
	return out
}
