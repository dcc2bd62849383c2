package convert

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

var isolations = pairs[container.Isolation, api.ContainerSpec_Isolation]{
	{container.IsolationDefault, api.ContainerIsolationDefault}, {container.IsolationProcess, api.ContainerIsolationProcess},
	{container.IsolationHyperV, api.ContainerIsolationHyperV},
}

// ContainerSpec translates what the container of a task is to be.
func ContainerSpec(c *api.ContainerSpec) *swarm.ContainerSpec {
	out := &swarm.ContainerSpec{
		Image: c.Image, Labels: c.Labels, Command: c.Command, Args: c.Args, Hostname: c.Hostname, Env: c.Env, Dir: c.Dir,
		User: c.User, Groups: c.Groups, Privileges: privilegesOf(c.Privileges), StopSignal: c.StopSignal, TTY: c.TTY,
		OpenStdin: c.OpenStdin, ReadOnly: c.ReadOnly, Mounts: each(c.Mounts, mountOf), StopGracePeriod: optionalDuration(c.StopGracePeriod),
		Healthcheck: healthcheckOf(c.Healthcheck), Hosts: c.Hosts, Secrets: secretReferencesOf(c.Secrets), Configs: configReferencesOf(c.Configs),
		Isolation: isolations.docker(c.Isolation), Sysctls: c.Sysctls, CapabilityAdd: c.CapabilityAdd, CapabilityDrop: c.CapabilityDrop,
		Ulimits: each(c.Ulimits, func(u *api.ContainerSpec_Ulimit) *container.Ulimit {
			return &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard}
		}),
		OomScoreAdj: c.OomScoreAdj,
	}
	if c.Init != nil {
		out.Init = &c.Init.Value
	}
	if d := c.DNSConfig; d != nil {
		out.DNSConfig = &swarm.DNSConfig{Search: d.Search, Options: d.Options, Nameservers: each(d.Nameservers, func(text string) netip.Addr {
			a, _ := netip.ParseAddr(text) // was read from an address
			return a
		})}
	}
	return out
}

func containerSpec(c *swarm.ContainerSpec) (*api.ContainerSpec, error) {
	out := &api.ContainerSpec{
		Image: c.Image, Labels: c.Labels, Command: c.Command, Args: c.Args, Hostname: c.Hostname, Env: c.Env, Dir: c.Dir,
		User: c.User, Groups: c.Groups, StopSignal: c.StopSignal, TTY: c.TTY, OpenStdin: c.OpenStdin, ReadOnly: c.ReadOnly,
		StopGracePeriod: optionalDurationProto(c.StopGracePeriod), Healthcheck: healthcheck(c.Healthcheck), Hosts: c.Hosts,
		Sysctls: c.Sysctls, CapabilityAdd: c.CapabilityAdd, CapabilityDrop: c.CapabilityDrop, OomScoreAdj: c.OomScoreAdj,
	}
	out.Isolation, _ = isolations.swarmkit(container.Isolation(strings.ToLower(string(c.Isolation))))
	if c.Init != nil {
		out.Init = &gogotypes.BoolValue{Value: *c.Init}
	}
	if d := c.DNSConfig; d != nil {
		out.DNSConfig = &api.ContainerSpec_DNSConfig{Nameservers: each(d.Nameservers, netip.Addr.String), Search: d.Search, Options: d.Options}
	}
	for _, u := range c.Ulimits {
		if u != nil {
			out.Ulimits = append(out.Ulimits, &api.ContainerSpec_Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
		}
	}
	var err error
	if out.Privileges, err = privileges(c.Privileges); err != nil {
		return nil, err
	}
	if out.Configs, err = configReferences(c.Configs); err != nil {
		return nil, fmt.Errorf("invalid Config: %w", err)
	}
	out.Secrets = secretReferences(c.Secrets)
	for _, m := range c.Mounts {
		translated, err := mountSpec(m)
		if err != nil {
			return nil, err
		}
		out.Mounts = append(out.Mounts, translated)
	}
	return out, nil
}

var seccompModes = pairs[swarm.SeccompMode, api.Privileges_SeccompOpts_SeccompMode]{
	{swarm.SeccompModeDefault, api.Privileges_SeccompOpts_DEFAULT}, {swarm.SeccompModeUnconfined, api.Privileges_SeccompOpts_UNCONFINED},
	{swarm.SeccompModeCustom, api.Privileges_SeccompOpts_CUSTOM},
}

var apparmorModes = pairs[swarm.AppArmorMode, api.Privileges_AppArmorOpts_AppArmorMode]{
	{swarm.AppArmorModeDefault, api.Privileges_AppArmorOpts_DEFAULT}, {swarm.AppArmorModeDisabled, api.Privileges_AppArmorOpts_DISABLED},
}

func privilegesOf(p *api.Privileges) *swarm.Privileges {
	if p == nil {
		return nil
	}
	out := &swarm.Privileges{NoNewPrivileges: p.NoNewPrivileges}
	if c := p.CredentialSpec; c != nil {
		out.CredentialSpec = &swarm.CredentialSpec{Config: c.GetConfig(), File: c.GetFile(), Registry: c.GetRegistry()}
	}
	if s := p.SELinuxContext; s != nil {
		out.SELinuxContext = &swarm.SELinuxContext{Disable: s.Disable, User: s.User, Role: s.Role, Type: s.Type, Level: s.Level}
	}
	if s := p.Seccomp; s != nil {
		out.Seccomp = &swarm.SeccompOpts{Mode: seccompModes.docker(s.Mode), Profile: s.Profile}
	}
	if a := p.Apparmor; a != nil {
		out.AppArmor = &swarm.AppArmorOpts{Mode: apparmorModes.docker(a.Mode)}
	}
	return out
}

func privileges(p *swarm.Privileges) (*api.Privileges, error) {
	if p == nil {
		return nil, nil
	}
	out := &api.Privileges{NoNewPrivileges: p.NoNewPrivileges}
	if p.CredentialSpec != nil {
		c, err := credentialSpec(p.CredentialSpec)
		if err != nil {
			return nil, fmt.Errorf("invalid CredentialSpec: %w", err)
		}
		out.CredentialSpec = c
	}
	if s := p.SELinuxContext; s != nil {
		out.SELinuxContext = &api.Privileges_SELinuxContext{Disable: s.Disable, User: s.User, Role: s.Role, Type: s.Type, Level: s.Level}
	}
	if s := p.Seccomp; s != nil {
		mode, _ := seccompModes.swarmkit(s.Mode)
		out.Seccomp = &api.Privileges_SeccompOpts{Mode: mode, Profile: s.Profile}
	}
	if a := p.AppArmor; a != nil {
		mode, _ := apparmorModes.swarmkit(a.Mode)
		out.Apparmor = &api.Privileges_AppArmorOpts{Mode: mode}
	}
	return out, nil
}

// credentialSpec translates where credentials of Windows come from: from one place.
func credentialSpec(c *swarm.CredentialSpec) (*api.Privileges_CredentialSpec, error) {
	out := &api.Privileges_CredentialSpec{}
	var given []string
	if c.Config != "" {
		given = append(given, `"config"`)
		out.Source = &api.Privileges_CredentialSpec_Config{Config: c.Config}
	}
	if c.File != "" {
		given = append(given, `"file"`)
		out.Source = &api.Privileges_CredentialSpec_File{File: c.File}
	}
	if c.Registry != "" {
		given = append(given, `"registry"`)
		out.Source = &api.Privileges_CredentialSpec_Registry{Registry: c.Registry}
	}
	switch len(given) {
	case 0:
		return nil, errors.New(`must either provide "file", "registry", or "config" for credential spec`)
	case 1:
		return out, nil
	case 2:
		return nil, fmt.Errorf("cannot specify both %s and %s credential specs", given[0], given[1])
	}
	return nil, fmt.Errorf("cannot specify both %s, and %s credential specs", strings.Join(given[:2], ", "), given[2])
}

func healthcheckOf(h *api.HealthConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	return &container.HealthConfig{
		Test: h.Test, Interval: durationOf(h.Interval), Timeout: durationOf(h.Timeout), StartPeriod: durationOf(h.StartPeriod),
		StartInterval: durationOf(h.StartInterval), Retries: int(h.Retries),
	}
}

func healthcheck(h *container.HealthConfig) *api.HealthConfig {
	if h == nil {
		return nil
	}
	return &api.HealthConfig{
		Test: h.Test, Interval: gogotypes.DurationProto(h.Interval), Timeout: gogotypes.DurationProto(h.Timeout),
		StartPeriod: gogotypes.DurationProto(h.StartPeriod), StartInterval: gogotypes.DurationProto(h.StartInterval), Retries: int32(h.Retries),
	}
}
