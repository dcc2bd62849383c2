package containerspec

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// Docker's values for what a health check leaves open.
const (
	defaultInterval      = 30 * time.Second
	defaultTimeout       = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultRetries       = 3
)

// healthLogged is how many results are remembered, as with Docker.
const healthLogged = 5

// Healthcheck is a container's health check with nothing left open.
type Healthcheck struct {
	Command       []string
	Interval      time.Duration // from the end of a probe to the next, and before the first
	Timeout       time.Duration // of one probe
	StartPeriod   time.Duration // after the start, in which failures do not count
	StartInterval time.Duration // instead of interval, in the start period of what was never healthy
	Retries       int           // failures in a row that make a container unhealthy
}

// HealthcheckOf returns the health check that a container's configuration asks for;
// false if there is none.
func HealthcheckOf(config *container.Config) (Healthcheck, bool) {
	h := config.Healthcheck
	if h == nil || len(h.Test) == 0 {
		return Healthcheck{}, false
	}
	c := Healthcheck{
		Command:     slices.Clone(h.Test[1:]),
		Interval:    orDefault(h.Interval, defaultInterval),
		Timeout:     orDefault(h.Timeout, defaultTimeout),
		StartPeriod: max(h.StartPeriod, 0), StartInterval: orDefault(h.StartInterval, defaultStartInterval),
		Retries: h.Retries,
	}
	if c.Retries <= 0 {
		c.Retries = defaultRetries
	}
	switch h.Test[0] {
	case "CMD":
		return c, true
	case "CMD-SHELL":
		shell := config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		c.Command = slices.Concat(shell, c.Command)
		return c, true
	}
	return Healthcheck{}, false // "NONE", or a word that nobody knows: Docker ignores it
}

// orDefault also replaces what is too short to be meant, which an earlier release has
// taken over from images.
func orDefault(d, otherwise time.Duration) time.Duration {
	if d < container.MinimumDuration {
		return otherwise
	}
	return d
}

// Pause returns how long to wait before the next probe of a container that has
// been up for that long.
func (c Healthcheck) Pause(status container.HealthStatus, up time.Duration) time.Duration {
	if up < c.StartPeriod && status == container.Starting {
		return c.StartInterval
	}
	return c.Interval
}

// Judge returns the health after one more result. What was never healthy may
// fail as often as it likes in its start period.
func (c Healthcheck) Judge(h container.Health, result container.HealthcheckResult, started time.Time) container.Health {
	h.Log = append(slices.Clone(h.Log), &result)
	h.Log = h.Log[max(len(h.Log)-healthLogged, 0):]
	switch {
	case result.ExitCode == 0:
		h.Status, h.FailingStreak = container.Healthy, 0
	case h.Status == container.Starting && result.Start.Sub(started) < c.StartPeriod:
	default:
		h.FailingStreak++
		if h.FailingStreak >= c.Retries {
			h.Status = container.Unhealthy
		}
	}
	return h
}

// checkHealth refuses a health check that cannot be meant, in Docker's words.
func checkHealth(r Request) error {
	h := r.Config.Healthcheck
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}, {"StartInterval", h.StartInterval}} {
		if d.value != 0 && d.value < container.MinimumDuration {
			return model.Errorf(model.Invalid, "%s in Healthcheck cannot be less than %s", d.name, container.MinimumDuration)
		}
	}
	if h.Retries < 0 {
		return refuse("Retries in Healthcheck cannot be negative")
	}
	return nil
}

// mergeHealth puts what the image says where the user said nothing, each setting
// by itself.
func mergeHealth(c *container.Config, image model.ImageConfig) {
	if len(c.Shell) == 0 {
		c.Shell = slices.Clone(image.Shell)
	}
	theirs := image.Healthcheck
	if theirs == nil {
		return
	}
	var h container.HealthConfig
	if c.Healthcheck != nil {
		h = *c.Healthcheck
	}
	if len(h.Test) == 0 {
		h.Test = slices.Clone(theirs.Test)
	}
	h.Interval = orDefault(h.Interval, theirs.Interval)
	h.Timeout = orDefault(h.Timeout, theirs.Timeout)
	h.StartPeriod = orDefault(h.StartPeriod, theirs.StartPeriod)
	h.StartInterval = orDefault(h.StartInterval, theirs.StartInterval)
	if h.Retries == 0 {
		h.Retries = theirs.Retries
	}
	c.Healthcheck = &h
}
