package containerspec

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
	"github.com/linkspan/linkspan/internal/ops"
)

// maxHostname is what the kernel takes (uname(2): __NEW_UTS_LEN).
const maxHostname = 64

// Validate refuses what cannot be, with Docker's words, before anything is made.
// The request has its defaults but not yet what its image says.
func Validate(r Request, on Machine) error {
	limits := func(r Request) error { return CheckLimits(r.Host.Resources, on) }
	for _, check := range []func(Request) error{
		checkContainerMode, checkModes, checkHostname, checkSysctls, checkPorts,
		checkExtraHosts, checkLinks, checkEndpoints, checkPolicies,
		limits, checkSwap, checkVariables, checkHealth, checkLogging, checkHost,
	} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

func refuse(words string) error { return model.Errorf(model.Invalid, "%s", words) }

// checkContainerMode refuses options that belong to the container whose network
// is shared.
func checkContainerMode(r Request) error {
	mode := r.Host.NetworkMode
	if word, target, _ := strings.Cut(string(mode), ":"); word == "container" && target == "" {
		return refuse("invalid network mode: invalid container format container:<name|id>")
	}
	if !mode.IsContainer() {
		return nil
	}
	switch {
	case r.Config.Hostname != "":
		return refuse("conflicting options: hostname and the network mode")
	case len(r.Host.Links) > 0:
		return refuse("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	case len(r.Host.DNS) > 0:
		return refuse("conflicting options: dns and the network mode")
	case len(r.Host.ExtraHosts) > 0:
		return refuse("conflicting options: custom host-to-IP mapping and the network mode")
	case len(r.Host.PortBindings) > 0 || r.Host.PublishAllPorts:
		return refuse("conflicting options: port publishing and the container type network mode")
	case len(r.Config.ExposedPorts) > 0:
		return refuse("conflicting options: port exposing and the container type network mode")
	}
	return nil
}

func checkModes(r Request) error {
	h := r.Host
	switch {
	case h.UTSMode.IsHost() && r.Config.Hostname != "":
		return refuse("conflicting options: hostname and the UTS mode")
	case h.NetworkMode.IsHost() && len(h.Links) > 0:
		return refuse(HostAndLinks)
	case !h.UTSMode.Valid():
		return refuse("invalid UTS mode: " + string(h.UTSMode))
	case !h.PidMode.Valid():
		return refuse("invalid PID mode: " + string(h.PidMode))
	case !h.IpcMode.Valid():
		return refuse("invalid IPC mode: " + string(h.IpcMode))
	}
	return nil
}

func checkHostname(r Request) error {
	if name := r.Config.Hostname; len(name) > maxHostname {
		return model.Errorf(model.Invalid, "hostname %q is too long (maximum %d bytes)", name, maxHostname)
	}
	if name := r.Config.Domainname; len(name) > maxHostname {
		return model.Errorf(model.Invalid, "domainname %q is too long (maximum %d bytes)", name, maxHostname)
	}
	for _, part := range []string{r.Config.Hostname, r.Config.Domainname} {
		// It becomes part of /etc/hosts.
		if strings.ContainsAny(part, " #") || strings.ContainsFunc(part, unicode.IsControl) {
			return model.Errorf(model.Invalid, "invalid hostname: %q", part)
		}
	}
	return nil
}

// checkSysctls refuses settings of one interface, whose name is not known yet.
func checkSysctls(r Request) error {
	for key := range r.Host.Sysctls {
		parts := strings.Split(key, ".")
		if len(parts) == 5 && parts[0] == "net" && strings.HasPrefix(parts[3], "eth") {
			return model.Errorf(model.Invalid, "interface specific sysctl setting %q must be supplied using driver option 'com.docker.network.endpoint.sysctls'", key)
		}
	}
	return nil
}

// checkExtraHosts refuses what the docker command refuses, for clients that do
// not check.
func checkExtraHosts(r Request) error {
	for _, extra := range r.Host.ExtraHosts {
		if _, err := names.ParseExtraHost(extra); err != nil {
			return err
		}
	}
	return nil
}

// checkEndpoints checks what can be said about memberships without knowing the
// networks; the engine checks the rest.
func checkEndpoints(r Request) error {
	if r.Networking == nil {
		return nil
	}
	for name, settings := range r.Networking.EndpointsConfig {
		if settings == nil {
			return model.Errorf(model.Invalid, "invalid config for network %s: EndpointsConfig is nil", name)
		}
		if err := checkSettings(name, settings); err != nil {
			return model.Errorf(model.Invalid, "invalid config for network %s: %w", name, err)
		}
	}
	mode := r.Host.NetworkMode
	count := len(r.Networking.EndpointsConfig)
	if _, own := r.Networking.EndpointsConfig[string(mode)]; count > 0 && !own {
		count++
	}
	switch {
	case count > 1 && mode.IsNone():
		return refuse("container cannot be connected to multiple networks with one of the networks in private (none) mode")
	case count > 1 && (mode.IsHost() || mode.IsContainer()), count > 0 && mode.IsContainer():
		return refuse(ops.SharedNetworking)
	}
	return nil
}

// checkSettings checks one membership by the name its user gave the network.
func checkSettings(name string, s *network.EndpointSettings) error {
	var complaints []string
	ipam := s.IPAMConfig
	if ipam == nil {
		ipam = &network.EndpointIPAMConfig{}
	}
	if !container.NetworkMode(name).IsUserDefined() {
		if ipam.IPv4Address.IsValid() || ipam.IPv6Address.IsValid() {
			complaints = append(complaints, "user-specified IP address is supported on user-defined networks only")
		}
		if len(s.Aliases) > 0 {
			complaints = append(complaints, "network-scoped aliases are only supported for user-defined networks")
		}
	}
	if a := ipam.IPv4Address; a.IsValid() && (!a.Is4() || a.IsUnspecified()) {
		complaints = append(complaints, "invalid IPv4 address: "+a.String())
	}
	if a := ipam.IPv6Address; a.IsValid() && (!a.Is6() || a.Is4In6() || a.IsUnspecified()) {
		complaints = append(complaints, "invalid IPv6 address: "+a.String())
	}
	for _, a := range ipam.LinkLocalIPs {
		if !a.IsLinkLocalUnicast() {
			complaints = append(complaints, "invalid link-local IP address: "+a.String())
		}
	}
	for _, err := range ops.CheckNames(s.Aliases, privateNames(s.Links)) {
		complaints = append(complaints, err.Error())
	}
	if len(complaints) == 0 {
		return nil
	}
	return model.Errorf(model.Invalid, "invalid endpoint settings:\n%s", strings.Join(complaints, "\n"))
}

func checkPolicies(r Request) error {
	if err := container.ValidateRestartPolicy(r.Host.RestartPolicy); err != nil {
		return model.Errorf(model.Invalid, "%w", err)
	}
	if r.Host.AutoRemove && !r.Host.RestartPolicy.IsNone() {
		return refuse("can't create 'AutoRemove' container with restart policy")
	}
	if r.Config.StopSignal != "" {
		if _, err := signal.ParseSignal(r.Config.StopSignal); err != nil {
			return model.Errorf(model.Invalid, "%w", err)
		}
	}
	if dir := r.Config.WorkingDir; dir != "" && !strings.HasPrefix(dir, "/") {
		return model.Errorf(model.Invalid, "the working directory '%s' is invalid, it needs to be an absolute path", dir)
	}
	if _, empty := r.Host.Annotations[""]; empty {
		return refuse("invalid Annotations: the empty string is not permitted as an annotation key")
	}
	return nil
}

func checkVariables(r Request) error { return CheckEnv(r.Config.Env) }

// checkHost refuses what the machine or the one runtime does not have.
//
//docker:no container create --gpus, container run --gpus: no driver gives out devices by what they can; `--device` takes them by name
//docker:partly container create --device, container run --device: devices of the host by name, not those of CDI (`vendor.com/class=name`)
//docker:no container create --storage-opt, container run --storage-opt: the file system of a container cannot be limited
//docker:partly container create --isolation, container run --isolation: `default`, as with Docker Engine on Linux
func checkHost(r Request) error {
	h := r.Host
	switch {
	case !h.Isolation.IsDefault():
		return model.Errorf(model.Invalid, "invalid isolation '%s' on linux", h.Isolation)
	case len(h.DeviceRequests) > 0:
		d := h.DeviceRequests[0]
		return model.Errorf(model.NotImplemented, "could not select device driver %q with capabilities: %v", d.Driver, d.Capabilities)
	case len(h.StorageOpt) > 0:
		return model.Errorf(model.Unfit, "%s", refusedStorage(h.StorageOpt))
	case !h.CgroupnsMode.Valid():
		return refuse("invalid cgroup namespace mode: " + string(h.CgroupnsMode))
	case h.ShmSize < 0:
		return refuse("SHM size can not be less than 0")
	case h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000:
		return model.Errorf(model.Invalid, "Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	return nil
}

// CheckEnv refuses variables that are none.
func CheckEnv(env []string) error {
	for _, e := range env {
		if strings.HasPrefix(e, "=") || e == "" || strings.ContainsRune(e, 0) {
			return model.Errorf(model.Invalid, "invalid environment variable: %s", e)
		}
	}
	return nil
}

// refusedStorage is Docker's word where the file system of a container cannot be limited.
func refusedStorage(options map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(options)) {
		if strings.ToLower(key) != "size" {
			return "Unknown option " + key
		}
	}
	return "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
}
