package containers

import (
	"net/http"
	"net/netip"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/storage"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// legacyInspect is what clients until 1.51 read of a container.
type legacyInspect struct {
	container.InspectResponse
	Config          *legacyConfig
	NetworkSettings *legacyNetworkSettings
}

// legacyConfig has the field that 1.44 moved to the endpoints and 1.52 dropped.
type legacyConfig struct {
	*container.Config
	MacAddress network.HardwareAddr `json:",omitempty"`
	OnBuild    []string             // shown even if empty
}

// legacyNetworkSettings has the fields that 1.52 dropped: those of the default
// bridge network, from the time when there was no other.
type legacyNetworkSettings struct {
	Bridge                 string
	SandboxID              string
	SandboxKey             string
	Ports                  network.PortMap
	HairpinMode            bool
	LinkLocalIPv6Address   string
	LinkLocalIPv6PrefixLen int
	SecondaryIPAddresses   []legacyAddress
	SecondaryIPv6Addresses []legacyAddress
	EndpointID             string
	Gateway                netip.Addr
	GlobalIPv6Address      netip.Addr
	GlobalIPv6PrefixLen    int
	IPAddress              netip.Addr
	IPPrefixLen            int
	IPv6Gateway            netip.Addr
	MacAddress             network.HardwareAddr
	Networks               map[string]*network.EndpointSettings
}

type legacyAddress struct {
	Addr      string
	PrefixLen int
}

func (a *api) inspectContainer(w http.ResponseWriter, r *httpkit.Request) error {
	answer, err := a.Containers.Inspect(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if r.Flag("size") {
		written, all, err := a.Containers.Size(r.Context(), answer.ID)
		if err != nil {
			return err
		}
		answer.SizeRw, answer.SizeRootFs = &written, &all
	}
	if r.Version >= 52 {
		answer.Storage = &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: answer.Driver}}}
		return httpkit.WriteJSON(w, http.StatusOK, answer)
	}
	answer.GraphDriver = &storage.DriverData{Name: answer.Driver}
	legacy := inspectAsLegacy(r.Version, answer)
	if legacy.Config != nil && answer.HostConfig != nil && answer.NetworkSettings != nil {
		e := answer.NetworkSettings.Networks[mainNetwork(answer.HostConfig.NetworkMode)]
		legacy.Config.MacAddress = a.configuredMAC(e)
	}
	return httpkit.WriteJSON(w, http.StatusOK, legacy)
}

// inspectAsLegacy shows a container as version v did.
func inspectAsLegacy(v httpkit.Version, now container.InspectResponse) legacyInspect {
	out := legacyInspect{InspectResponse: now}
	if now.Config != nil {
		out.Config = &legacyConfig{Config: now.Config, OnBuild: now.Config.OnBuild}
	}
	if now.NetworkSettings == nil {
		return out
	}
	out.NetworkSettings = &legacyNetworkSettings{
		SandboxID: now.NetworkSettings.SandboxID, SandboxKey: now.NetworkSettings.SandboxKey,
		Ports: now.NetworkSettings.Ports, Networks: now.NetworkSettings.Networks,
	}
	if e := now.NetworkSettings.Networks[model.NetworkBridge]; e != nil {
		n := out.NetworkSettings
		n.EndpointID, n.MacAddress = e.EndpointID, e.MacAddress
		n.IPAddress, n.IPPrefixLen, n.Gateway = e.IPAddress, e.IPPrefixLen, e.Gateway
		n.GlobalIPv6Address, n.GlobalIPv6PrefixLen, n.IPv6Gateway = e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway
	}
	if v < 45 {
		out.NetworkSettings.Networks = withShortID(now)
	}
	return out
}

// configuredMAC returns the MAC address that the user asked for at an endpoint, if
// he did. One that is up shows what it has, whoever chose that.
func (a *api) configuredMAC(e *network.EndpointSettings) network.HardwareAddr {
	if e == nil {
		return nil
	}
	if own, _ := a.Endpoints.Endpoint(model.EndpointID(e.EndpointID)); e.EndpointID != "" && !own.StaticMAC {
		return nil
	}
	return e.MacAddress
}

// mainNetwork returns the network that a mode stands for.
func mainNetwork(mode container.NetworkMode) string {
	if mode == "" || mode.IsDefault() {
		return model.NetworkBridge
	}
	return string(mode)
}

// withShortID returns the memberships with the container's short ID and host
// name among the aliases, where clients until 1.44 look for them.
func withShortID(now container.InspectResponse) map[string]*network.EndpointSettings {
	out := make(map[string]*network.EndpointSettings, len(now.NetworkSettings.Networks))
	for name, e := range now.NetworkSettings.Networks {
		if e == nil || !container.NetworkMode(name).IsUserDefined() {
			out[name] = e
			continue
		}
		shown := e.Copy()
		more := []string{model.Short(now.ID)}
		if now.Config != nil && now.Config.Hostname != "" {
			more = append(more, now.Config.Hostname)
		}
		for _, alias := range more {
			if !slices.Contains(shown.Aliases, alias) {
				shown.Aliases = append(shown.Aliases, alias)
			}
		}
		out[name] = shown
	}
	return out
}
