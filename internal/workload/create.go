package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// Create makes a container that does not run yet and returns its ID. Errors:
// Invalid for what cannot be, NotFound for the image, Conflict for the name.
func (m *Manager) Create(ctx context.Context, r CreateRequest) (id string, remarks []string, err error) {
	if r, err = m.complete(r); err != nil {
		return "", nil, err
	}
	if err := validate(r); err != nil {
		return "", nil, err
	}
	image, err := m.o.Images.Image(ctx, r.Config.Image)
	if err != nil {
		return "", nil, err
	}
	if image.Damaged != "" {
		return "", nil, &model.Error{Op: "container.create", Subject: r.Config.Image, Kind: model.Conflict,
			Err: fmt.Errorf("image %s cannot be read: %s", r.Config.Image, image.Damaged),
			Way: "remove it with docker rmi, and load it again"}
	}
	said, err := meant(image.Config)
	if err != nil {
		return "", nil, err
	}
	if err := merge(r.Config, said); err != nil {
		return "", nil, err
	}
	if err := checkVolumeDriver(r); err != nil {
		return "", nil, err
	}
	rec := record{ID: model.ContainerID(newID()), Created: time.Now().UTC(), Image: image.ID, Config: r.Config, Host: r.Host}
	if rec.Name, err = m.reserve(r.Name, rec.ID); err != nil {
		return "", nil, err
	}
	// A client that goes away leaves the container behind, as with Docker, not half of
	// one.
	b, err := m.build(context.WithoutCancel(ctx), rec, r.Networking)
	if err != nil {
		m.release(rec.Name, rec.ID)
		return "", nil, err
	}
	m.mu.Lock()
	m.boxes[b.id] = b
	m.mu.Unlock()
	m.say(b, events.ActionCreate)
	return string(b.id), warnings(r), nil
}

// build makes everything of a container outside memory; on failure nothing of it
// stays. The record comes last: a container without one is swept by Restore.
func (m *Manager) build(ctx context.Context, rec record, nets *network.NetworkingConfig) (*box, error) {
	if err := m.fillHost(&rec); err != nil {
		return nil, err
	}
	_, err := m.logAttributes(rec)
	if err != nil {
		return nil, err
	}
	if rec.Links, err = m.findLinks(rec); err != nil {
		return nil, err
	}
	undo := func(cause error) error {
		clean, cancel := m.cleanup()
		defer cancel()
		return errors.Join(cause, m.dismantle(clean, rec, false), m.removeVolumes(rec))
	}
	if err := os.MkdirAll(m.dir(rec.ID), 0o710); err != nil {
		return nil, undo(fmt.Errorf("container directory: %w", err))
	}
	if rec.Mounts, err = m.mountPoints(rec); err != nil {
		return nil, undo(err)
	}
	if err := m.o.Containers.Check(m.spec(rec, netns{}, m.filesOf(rec.ID))); err != nil {
		return nil, undo(err)
	}
	if !rec.mode().IsContainer() {
		rec.Sandbox = model.SandboxID(newID())
		sb := m.sandbox(rec)
		if sb.Mode == model.SandboxOwn {
			if sb.Publish, err = publications(rec.Config, rec.Host); err != nil {
				return nil, undo(err)
			}
		}
		op := ops.CreateSandbox(sb, m.endpointSpecs(rec, nets))
		if _, err := m.o.Engine.Do(ctx, op); err != nil {
			return nil, undo(err)
		}
	}
	b := newBox(rec)
	if err := m.save(ctx, b); err != nil {
		return nil, undo(err)
	}
	return b, nil
}

// sandbox returns the network life of a container.
func (m *Manager) sandbox(rec record) model.Sandbox {
	sb := model.Sandbox{
		ID: rec.Sandbox, Container: rec.ID, Name: rec.Name, Mode: model.SandboxOwn,
		Hostname: rec.Config.Hostname, Domainname: rec.Config.Domainname,
		DNS: m.resolving(rec), Links: m.opening(rec.Links), NoIPv6: noIPv6(rec.Host.Sysctls),
		NetAdmin: netAdmin(rec.Host),
	}
	if rec.mode().IsHost() {
		sb.Mode = model.SandboxHost
	}
	return sb
}

// noIPv6 tells whether a container's settings switch IPv6 off on all interfaces
// that it gets.
func noIPv6(sysctls map[string]string) bool {
	for _, which := range []string{"all", "default"} {
		value, set := sysctls["net.ipv6.conf."+which+".disable_ipv6"]
		if set && strings.TrimSpace(value) != "0" {
			return true
		}
	}
	return false
}

// complete returns a copy of the request in which what the client left out has
// its default.
func (m *Manager) complete(r CreateRequest) (CreateRequest, error) {
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
	host.NetworkMode = m.byContainerID(host.NetworkMode)
	if host.Runtime == "" {
		host.Runtime = "runc"
	}
	if host.LogConfig.Type == "" {
		host.LogConfig.Type = m.o.Defaults.LogDriver
	}
	if host.LogConfig.Type == m.o.Defaults.LogDriver {
		host.LogConfig.Config = mergeMaps(host.LogConfig.Config, m.o.Defaults.LogOptions)
	}
	if host.RestartPolicy.Name == "" {
		host.RestartPolicy.Name = container.RestartPolicyDisabled
	}
	if host.ShmSize == 0 {
		host.ShmSize = m.o.Defaults.ShmSize
	}
	if host.ShmSize == 0 {
		host.ShmSize = 64 << 20
	}
	if host.IpcMode == "" {
		host.IpcMode = container.IPCModePrivate
	}
	if host.CgroupnsMode == "" {
		host.CgroupnsMode = container.CgroupnsModePrivate
	}
	if host.CgroupParent == "" {
		host.CgroupParent = m.o.Defaults.CgroupParent
	}
	if host.Memory > 0 && host.MemorySwap == 0 {
		host.MemorySwap = 2 * host.Memory // else swap would be without a limit
	}
	confine(&host, m.o.Confinement)
	m.keepSharers(&host)
	r.Config, r.Host, r.Networking = &config, &host, renameDefault(r.Networking)
	return r, nil
}

// byContainerID names the container whose network is shared by its ID, so that it
// is found when it has another name. One that is not there keeps the name that it
// was given; the start will tell.
func (m *Manager) byContainerID(mode container.NetworkMode) container.NetworkMode {
	if ref := mode.ConnectedContainer(); ref != "" {
		if b, err := m.find(ref); err == nil {
			return container.NetworkMode("container:" + string(b.id))
		}
	}
	return mode
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

// merge puts what the image says where the user said nothing.
func merge(c *container.Config, image model.ImageConfig) error {
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

// fillHost sets what depends on the container's own ID and on the host.
func (m *Manager) fillHost(r *record) error {
	switch mode := r.mode(); {
	case r.Config.Hostname != "" || mode.IsContainer(): // shared names are read at start
	case mode.IsHost() || r.Host.UTSMode.IsHost():
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("host name: %w", err)
		}
		r.Config.Hostname = name
	default:
		r.Config.Hostname = model.Short(r.ID)
	}
	return nil
}
