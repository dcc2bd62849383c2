package containerspec

import (
	"maps"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/ociruntimes"
)

// Defaults are the daemon's settings for what a request leaves out.
type Defaults struct {
	LogDriver  string
	LogOptions map[string]string
	ShmSize    int64 // bytes; 0 means 64 MiB
	Runtimes   ociruntimes.Set
	Cgroup2    bool // the machine has cgroups of version 2 alone
	// CgroupnsMode is "private" or "host"; empty is what is usual with the machine's cgroups.
	CgroupnsMode string
	// SystemPaths returns what is masked and what is read-only; nil leaves it untold.
	SystemPaths func() (masked, readonly []string)
}

// Complete returns a copy of the request in which what the client left out has
// its default. Its Config and Host are the caller's to change. Invalid without a
// Config.
func Complete(r Request, d Defaults) (Request, error) {
	if r.Config == nil {
		return r, refuse("Config cannot be empty in order to create a container")
	}
	config, host := *r.Config, container.HostConfig{}
	if r.Host != nil {
		host = *r.Host
	}
	if r.Config.NetworkDisabled && host.NetworkMode == "" {
		host.NetworkMode = network.NetworkNone
	}
	if host.NetworkMode == "" || host.NetworkMode.IsDefault() {
		host.NetworkMode = network.NetworkBridge
	}
	if host.Runtime == "" {
		host.Runtime = d.Runtimes.Name()
	}
	if host.LogConfig.Type == "" {
		host.LogConfig.Type = d.LogDriver
	}
	if host.LogConfig.Type == d.LogDriver {
		host.LogConfig.Config = mergeMaps(host.LogConfig.Config, d.LogOptions)
	}
	if host.LogConfig.Config == nil {
		host.LogConfig.Config = map[string]string{} // is shown, as {}
	}
	if host.RestartPolicy.Name == "" {
		host.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if host.ShmSize == 0 {
		host.ShmSize = d.ShmSize
	}
	if host.ShmSize == 0 {
		host.ShmSize = 64 << 20
	}
	if host.IpcMode == "" {
		host.IpcMode = container.IPCModePrivate
	}
	if host.CgroupnsMode == "" {
		host.CgroupnsMode = d.cgroupns(host.Privileged)
	}
	if host.Memory > 0 && host.MemorySwap == 0 {
		host.MemorySwap = 2 * host.Memory // else swap would be without a limit
	}
	confine(&host, d.SystemPaths)
	r.Config, r.Host, r.Networking = &config, &host, renameDefault(r.Networking)
	return r, nil
}

// cgroupns returns the mode of containers that say nothing. With cgroups of version 1 programs
// rely on seeing the host's.
func (d Defaults) cgroupns(privileged bool) container.CgroupnsMode {
	switch {
	case privileged && !d.Cgroup2:
		return container.CgroupnsModeHost
	case d.CgroupnsMode != "":
		return container.CgroupnsMode(d.CgroupnsMode)
	case d.Cgroup2:
		return container.CgroupnsModePrivate
	}
	return container.CgroupnsModeHost
}

// renameDefault gives the membership in "default" its network's true name.
func renameDefault(n *network.NetworkingConfig) *network.NetworkingConfig {
	if n == nil || n.EndpointsConfig[network.NetworkDefault] == nil {
		return n
	}
	all := maps.Clone(n.EndpointsConfig)
	if all[network.NetworkBridge] == nil {
		all[network.NetworkBridge] = all[network.NetworkDefault]
	}
	delete(all, network.NetworkDefault)
	return &network.NetworkingConfig{EndpointsConfig: all}
}
