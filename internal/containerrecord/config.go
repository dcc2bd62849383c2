package containerrecord

import (
	"net/netip"
	"time"

	"github.com/moby/moby/api/types/container"
)

// storedConfig is container.Config as it is stored.
type storedConfig struct {
	Hostname     string `json:"Hostname,omitzero"`
	Domainname   string `json:"Domainname,omitzero"`
	User         string `json:"User,omitzero"`
	AttachStdin  bool   `json:"AttachStdin,omitzero"`
	AttachStdout bool   `json:"AttachStdout,omitzero"`
	AttachStderr bool   `json:"AttachStderr,omitzero"`
	// ExposedPorts are read only: since version 3 they are ranges, beside Config.
	ExposedPorts    portSet             `json:"ExposedPorts,omitzero"`
	Tty             bool                `json:"Tty,omitzero"`
	OpenStdin       bool                `json:"OpenStdin,omitzero"`
	StdinOnce       bool                `json:"StdinOnce,omitzero"`
	Env             []string            `json:"Env,omitzero"`
	Cmd             []string            `json:"Cmd,omitzero"`
	Healthcheck     *storedHealthcheck  `json:"Healthcheck,omitzero"`
	ArgsEscaped     bool                `json:"ArgsEscaped,omitzero"`
	Image           string              `json:"Image,omitzero"`
	Volumes         map[string]struct{} `json:"Volumes,omitzero"`
	WorkingDir      string              `json:"WorkingDir,omitzero"`
	Entrypoint      []string            `json:"Entrypoint,omitzero"`
	NetworkDisabled bool                `json:"NetworkDisabled,omitzero"`
	OnBuild         []string            `json:"OnBuild,omitzero"`
	Labels          map[string]string   `json:"Labels,omitzero"`
	StopSignal      string              `json:"StopSignal,omitzero"`
	StopTimeout     *int                `json:"StopTimeout,omitzero"` // seconds
	Shell           []string            `json:"Shell,omitzero"`
}

// storedHealthcheck is container.HealthConfig as it is stored: times in
// nanoseconds.
type storedHealthcheck struct {
	Test          []string      `json:"Test,omitzero"`
	Interval      time.Duration `json:"Interval,omitzero"`
	Timeout       time.Duration `json:"Timeout,omitzero"`
	StartPeriod   time.Duration `json:"StartPeriod,omitzero"`
	StartInterval time.Duration `json:"StartInterval,omitzero"`
	Retries       int           `json:"Retries,omitzero"`
}

// storedHealth is container.Health as it is stored.
type storedHealth struct {
	Status        container.HealthStatus `json:"Status,omitzero"`
	FailingStreak int                    `json:"FailingStreak,omitzero"`
	Log           []*storedProbe         `json:"Log,omitzero"`
}

type storedProbe struct {
	Start    time.Time `json:"Start,omitzero"`
	End      time.Time `json:"End,omitzero"`
	ExitCode int       `json:"ExitCode,omitzero"`
	Output   string    `json:"Output,omitzero"`
}

// storedEntry is a line of a hosts file as it is stored.
type storedEntry struct {
	Addr  netip.Addr `json:"Addr,omitzero"`
	Names []string   `json:"Names,omitzero"`
}

func toConfig(c *container.Config) *storedConfig {
	return ref(c, func(c container.Config) storedConfig {
		return storedConfig{
			Hostname: c.Hostname, Domainname: c.Domainname, User: c.User,
			AttachStdin: c.AttachStdin, AttachStdout: c.AttachStdout, AttachStderr: c.AttachStderr,
			Tty: c.Tty, OpenStdin: c.OpenStdin, StdinOnce: c.StdinOnce,
			Env: c.Env, Cmd: c.Cmd, Healthcheck: ref(c.Healthcheck, toHealthcheck), ArgsEscaped: c.ArgsEscaped,
			Image: c.Image, Volumes: c.Volumes, WorkingDir: c.WorkingDir, Entrypoint: c.Entrypoint,
			NetworkDisabled: c.NetworkDisabled, OnBuild: c.OnBuild, Labels: c.Labels,
			StopSignal: c.StopSignal, StopTimeout: c.StopTimeout, Shell: c.Shell,
		}
	})
}

// docker is the way back, without the ports.
func (s *storedConfig) docker() *container.Config {
	return ref(s, func(s storedConfig) container.Config {
		return container.Config{
			Hostname: s.Hostname, Domainname: s.Domainname, User: s.User,
			AttachStdin: s.AttachStdin, AttachStdout: s.AttachStdout, AttachStderr: s.AttachStderr,
			Tty: s.Tty, OpenStdin: s.OpenStdin, StdinOnce: s.StdinOnce,
			Env: s.Env, Cmd: s.Cmd, Healthcheck: ref(s.Healthcheck, storedHealthcheck.docker), ArgsEscaped: s.ArgsEscaped,
			Image: s.Image, Volumes: s.Volumes, WorkingDir: s.WorkingDir, Entrypoint: s.Entrypoint,
			NetworkDisabled: s.NetworkDisabled, OnBuild: s.OnBuild, Labels: s.Labels,
			StopSignal: s.StopSignal, StopTimeout: s.StopTimeout, Shell: s.Shell,
		}
	})
}

func toHealthcheck(h container.HealthConfig) storedHealthcheck {
	return storedHealthcheck{
		Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries,
	}
}

func (s storedHealthcheck) docker() container.HealthConfig {
	return container.HealthConfig{
		Test: s.Test, Interval: s.Interval, Timeout: s.Timeout, StartPeriod: s.StartPeriod, StartInterval: s.StartInterval, Retries: s.Retries,
	}
}

func toHealth(h *container.Health) *storedHealth {
	return ref(h, func(h container.Health) storedHealth {
		return storedHealth{Status: h.Status, FailingStreak: h.FailingStreak, Log: each(h.Log, toProbe)}
	})
}

func (s *storedHealth) docker() *container.Health {
	return ref(s, func(s storedHealth) container.Health {
		return container.Health{Status: s.Status, FailingStreak: s.FailingStreak, Log: each(s.Log, (*storedProbe).docker)}
	})
}

func toProbe(p *container.HealthcheckResult) *storedProbe {
	return ref(p, func(p container.HealthcheckResult) storedProbe {
		return storedProbe{Start: p.Start, End: p.End, ExitCode: p.ExitCode, Output: p.Output}
	})
}

func (s *storedProbe) docker() *container.HealthcheckResult {
	return ref(s, func(s storedProbe) container.HealthcheckResult {
		return container.HealthcheckResult{Start: s.Start, End: s.End, ExitCode: s.ExitCode, Output: s.Output}
	})
}
