package containers

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// createBody is the body of a create request of any version.
type createBody struct {
	container.CreateRequest
	// MacAddress was the container's until 1.43 and belongs to an endpoint since.
	MacAddress network.HardwareAddr
}

func (a *api) createContainer(w http.ResponseWriter, r *httpkit.Request) error {
	name := r.Query.Get("name")
	if len(name) > httpkit.MaxName {
		return model.Errorf(model.Invalid, "Invalid container name (%.32s…): it has %d bytes, at most %d are allowed", name, len(name), httpkit.MaxName)
	}
	var body createBody
	err := r.Decode(&body)
	if errors.Is(err, httpkit.ErrNoJSON) || err == nil && r.Empty() {
		return model.Errorf(model.Invalid, "invalid JSON: EOF")
	}
	if err != nil {
		return err
	}
	create, warnings, err := translateCreate(r.Version, body)
	if err != nil {
		return err
	}
	create.Name = name
	if err := a.checkPlatform(r, create); err != nil {
		return err
	}
	id, more, err := a.Containers.Create(r.Context(), create)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, container.CreateResponse{ID: id, Warnings: append(append([]string{}, warnings...), more...)})
}

// translateCreate turns a body into what the newest version means, and returns
// the warnings that Docker gives an old client.
func translateCreate(v httpkit.Version, body createBody) (out containerhub.CreateRequest, warnings []string, err error) {
	if body.Config == nil {
		return out, nil, model.Errorf(model.Invalid, "config cannot be empty in order to create a container")
	}
	out = containerhub.CreateRequest{Config: body.Config, Host: body.HostConfig, Networking: body.NetworkingConfig}
	if out.Host == nil {
		out.Host = &container.HostConfig{}
	}
	if out.Networking == nil {
		out.Networking = &network.NetworkingConfig{}
	}
	if out.Networking.EndpointsConfig == nil {
		out.Networking.EndpointsConfig = map[string]*network.EndpointSettings{}
	}
	if all := out.Networking.EndpointsConfig; mainNetwork(out.Host.NetworkMode) == model.NetworkBridge {
		if e, given := all[network.NetworkDefault]; given { // in the words of the mode
			delete(all, network.NetworkDefault)
			all[model.NetworkBridge] = e
		}
	}
	if v < 44 && len(out.Networking.EndpointsConfig) > 1 {
		names := slices.Sorted(maps.Keys(out.Networking.EndpointsConfig))
		return out, nil, model.Errorf(model.Invalid, "Container cannot be created with multiple network endpoints: %s", strings.Join(names, ", "))
	}
	forgetLater(v, out)
	for _, step := range []func(httpkit.Version, createBody, containerhub.CreateRequest) (string, error){translateMAC, translateSysctls, translatePorts} {
		warning, err := step(v, body, out)
		if err != nil {
			return out, nil, err
		}
		if warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return out, warnings, nil
}

// forgetLater clears what a client of version v does not know: whatever stands
// there, it does not mean it.
func forgetLater(v httpkit.Version, out containerhub.CreateRequest) {
	if v < 42 {
		out.Host.ConsoleSize = [2]uint{}
	}
	if v < 43 {
		out.Host.Annotations = nil
	}
	if h := out.Config.Healthcheck; v < 44 && h != nil {
		h.StartInterval = 0
	}
	for _, e := range out.Networking.EndpointsConfig {
		if v < 48 && e != nil {
			e.GwPriority = 0
		}
	}
}

// translateMAC moves a container's MAC address to its main endpoint.
func translateMAC(v httpkit.Version, body createBody, out containerhub.CreateRequest) (warning string, err error) {
	mac, mode := body.MacAddress, out.Host.NetworkMode
	if v < 44 {
		// A client of that time does not know the endpoint's field.
		for _, e := range out.Networking.EndpointsConfig {
			if e != nil {
				e.MacAddress = nil
			}
		}
	}
	switch {
	case len(mac) == 0:
		return "", nil
	case v >= 52:
		return "", model.Errorf(model.Invalid, "container-wide MAC address no longer supported; use endpoint-specific MAC address instead")
	case mode.IsHost() || mode.IsContainer() || mode.IsNone():
		if v < 44 {
			return "", model.Errorf(model.Invalid, "conflicting options: mac-address and the network mode")
		}
	default:
		e, err := mainEndpoint(v, out)
		if err != nil {
			return "", fmt.Errorf("unable to migrate container-wide MAC address to a specific network: %w", err)
		}
		if len(e.MacAddress) > 0 && e.MacAddress.String() != mac.String() {
			return "", model.Errorf(model.Invalid, "the container-wide MAC address must match the endpoint-specific MAC address "+
				"for the main network, or be left empty")
		}
		e.MacAddress = mac
	}
	if v >= 44 {
		warning = "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
	}
	return warning, nil
}

// mainEndpoint returns the settings for the network that the container's mode
// names; they are made if there are none at all. Where others are, one of them may
// be the same network under another name, so from 1.44 on that is Invalid. Before,
// there was one network, whatever its name.
func mainEndpoint(v httpkit.Version, out containerhub.CreateRequest) (*network.EndpointSettings, error) {
	all, name := out.Networking.EndpointsConfig, mainNetwork(out.Host.NetworkMode)
	names := slices.Collect(maps.Keys(all))
	_, named := all[name]
	switch {
	case v < 44 && len(names) == 1:
		name = names[0]
	case len(names) > 0 && !named:
		return nil, model.Errorf(model.Invalid, "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
	}
	if all[name] == nil {
		all[name] = &network.EndpointSettings{}
	}
	return all[name], nil
}

// translateSysctls moves settings of eth0 to the main endpoint, as Docker did
// until 1.47; later they are refused where all options are checked.
func translateSysctls(v httpkit.Version, _ createBody, out containerhub.CreateRequest) (warning string, err error) {
	if v > 47 {
		return "", nil
	}
	var moved []string
	for _, key := range slices.Sorted(maps.Keys(out.Host.Sysctls)) {
		parts := strings.Split(key, ".")
		if len(parts) != 5 || parts[0] != "net" || parts[3] != "eth0" {
			continue
		}
		value := out.Host.Sysctls[key]
		parts[3] = "IFNAME"
		e, err := mainEndpoint(v, out)
		if err != nil {
			return "", fmt.Errorf("unable to find a network for sysctl %s: %w", key, err)
		}
		setting := strings.Join(parts, ".") + "=" + value
		if have := e.DriverOpts[driver.OptionSysctls]; have != "" {
			setting = have + "," + setting
		}
		if e.DriverOpts == nil {
			e.DriverOpts = map[string]string{}
		}
		e.DriverOpts[driver.OptionSysctls] = setting
		delete(out.Host.Sysctls, key)
		moved = append(moved, fmt.Sprintf("Migrated sysctl %q to DriverOpts{%q:%q}.", key+"="+value, driver.OptionSysctls, setting))
	}
	return strings.Join(moved, "\n"), nil
}

// checkPlatform refuses an image that is not for the platform asked for.
func (a *api) checkPlatform(r *httpkit.Request, create containerhub.CreateRequest) error {
	want := r.Query.Get("platform")
	if want == "" {
		return nil
	}
	system, rest, _ := strings.Cut(strings.ToLower(want), "/")
	arch, variant, _ := strings.Cut(rest, "/")
	if arch == "" { // "linux", or only "arm64"
		arch = runtime.GOARCH
		if system != "linux" {
			system, arch = "linux", system
		}
	}
	switch arch {
	case "x86_64", "x86-64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	}
	image, err := a.Images.Find(r.Context(), create.Config.Image)
	if err != nil {
		return err
	}
	if image.OS != system || image.Architecture != arch || variant != "" && image.Variant != "" && image.Variant != variant {
		return model.Errorf(model.NotFound, "image with reference %s was found but its platform (%s/%s) does not match the specified platform (%s)",
			create.Config.Image, image.OS, image.Architecture, want)
	}
	return nil
}
