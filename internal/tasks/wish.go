package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/netip"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/api/genericresource"
	"github.com/moby/swarmkit/v2/template"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// Docker's words.
var (
	errImageRequired = errors.New("dockerexec: image required")
	errDestroyed     = errors.New("dockerexec: container destroyed")
	errUnhealthy     = errors.New("dockerexec: unhealthy container")
)

// wish is what a task asks of this host, in this house's words; pure.
type wish struct {
	task     *api.Task // with its templates filled in
	spec     *swarm.ContainerSpec
	networks []model.Network
	stands   map[string]*model.ServiceEndpoint
	given    map[string][]netip.Addr
}

// newWish reads a task. Errors: in Docker's words, for what cannot be meant.
func newWish(t *api.Task, node *api.NodeDescription) (*wish, error) {
	if t.Spec.GetContainer().Image == "" {
		return nil, errImageRequired
	}
	if err := checkMounts(t.Spec.GetContainer().Mounts); err != nil {
		return nil, err
	}
	filled, err := template.ExpandContainerSpec(node, t)
	if err != nil {
		return nil, err
	}
	t = t.Copy()
	t.Spec.Runtime = &api.TaskSpec_Container{Container: filled}
	w := &wish{task: t, spec: convert.ContainerSpec(filled), stands: map[string]*model.ServiceEndpoint{}, given: map[string][]netip.Addr{}}
	for _, at := range t.Networks {
		if at.Network == nil {
			return nil, errors.New("a task is attached to no network")
		}
		if at.Network.Spec.Annotations.Labels[prefix+"predefined"] == "true" {
			continue // is the mode
		}
		n, err := cluster.NetworkOf(at.Network)
		if err != nil {
			return nil, err
		}
		w.networks = append(w.networks, n)
		w.stands[at.Network.ID] = cluster.StandsFor(t, at)
		for _, text := range at.Addresses {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("address of a task: %w", err)
			}
			w.given[at.Network.ID] = append(w.given[at.Network.ID], p.Addr())
		}
	}
	return w, nil
}

func checkMounts(list []api.Mount) error {
	for _, m := range list {
		switch absolute := filepath.IsAbs(m.Source); {
		case !filepath.IsAbs(m.Target) && m.Type != api.MountTypeNamedPipe:
			return fmt.Errorf("invalid mount target, must be an absolute path: %s", m.Target)
		case m.Type == api.MountTypeBind && !absolute:
			return fmt.Errorf("invalid bind mount source, must be an absolute path: %s", m.Source)
		case m.Type == api.MountTypeVolume && absolute:
			return fmt.Errorf("invalid volume mount source, must not be an absolute path: %s", m.Source)
		case m.Type == api.MountTypeTmpfs && m.Source != "":
			return errors.New("invalid tmpfs source, source must be empty")
		case m.Type == api.MountTypeNamedPipe && m.Source == "":
			return errors.New("invalid npipe source, source must not be empty")
		case m.Type > api.MountTypeNamedPipe:
			return fmt.Errorf("invalid mount type: %s", m.Type)
		}
	}
	return nil
}

// name is what the container is called.
func (w *wish) name() string {
	t := w.task
	if t.Annotations.Name != "" {
		return t.Annotations.Name
	}
	slot := t.NodeID
	if t.Slot != 0 {
		slot = strconv.FormatUint(t.Slot, 10)
	}
	return t.ServiceAnnotations.Name + "." + slot + "." + t.ID
}

// image is the image's name as Docker shows it.
func (w *wish) image() string {
	named, err := reference.ParseNormalizedNamed(w.spec.Image)
	if err != nil {
		return w.spec.Image // an ID
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}

// labels are those of the service, and the swarm's own, which nobody else can set.
func (w *wish) labels() map[string]string {
	out := map[string]string{}
	maps.Copy(out, w.spec.Labels)
	maps.Copy(out, w.task.Annotations.Labels)
	for name, value := range map[string]string{
		"task": "", "task.id": w.task.ID, "task.name": w.name(), "node.id": w.task.NodeID, "service.id": w.task.ServiceID, "service.name": w.task.ServiceAnnotations.Name,
	} {
		out[prefix+name] = value
	}
	return out
}

// request is the container that the task asks for, with the files at these places.
func (w *wish) request(files []containerspec.MountPoint) containers.CreateRequest {
	r := containers.CreateRequest{
		Name: w.name(), Config: w.config(), Host: w.host(),
		Networking: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}},
		Task:       &containerspec.Task{Services: w.stands, Given: w.given, Files: files},
	}
	for _, at := range w.task.Networks {
		id := at.Network.ID
		if w.stands[id] == nil {
			r.Host.NetworkMode = container.NetworkMode(at.Network.Spec.Annotations.Name)
			continue
		}
		r.Networking.EndpointsConfig[id] = &network.EndpointSettings{NetworkID: id, DriverOpts: at.DriverAttachmentOpts}
	}
	return r
}

func (w *wish) config() *container.Config {
	s := w.spec
	out := &container.Config{
		Labels: w.labels(), StopSignal: s.StopSignal, Tty: s.TTY, OpenStdin: s.OpenStdin, User: s.User,
		Env:      append(s.Env[:len(s.Env):len(s.Env)], genericresource.EnvFormat(w.task.AssignedGenericResources, "DOCKER_RESOURCE")...),
		Hostname: s.Hostname, WorkingDir: s.Dir, Image: w.image(), Healthcheck: s.Healthcheck, ExposedPorts: network.PortSet{},
	}
	if len(s.Command) > 0 { // takes the place of all that the image says
		out.Entrypoint = s.Command
	}
	out.Cmd = s.Args
	for port := range w.hostPorts() {
		out.ExposedPorts[port] = struct{}{}
	}
	return out
}

// hostPorts are the ports that are published on this host alone.
func (w *wish) hostPorts() network.PortMap {
	out := network.PortMap{}
	if w.task.Endpoint == nil {
		return out
	}
	for _, p := range w.task.Endpoint.Ports {
		if p.PublishMode != api.PublishModeHost || p.TargetPort > math.MaxUint16 {
			continue
		}
		port, ok := network.PortFrom(uint16(p.TargetPort), network.IPProtocol(strings.ToLower(p.Protocol.String())))
		if !ok {
			continue
		}
		binding := network.PortBinding{}
		if p.PublishedPort != 0 {
			binding.HostPort = strconv.FormatUint(uint64(p.PublishedPort), 10)
		}
		out[port] = append(out[port], binding)
	}
	return out
}

func (w *wish) host() *container.HostConfig {
	s := w.spec
	out := &container.HostConfig{
		Resources: w.resources(), GroupAdd: s.Groups, PortBindings: w.hostPorts(), Mounts: s.Mounts, ReadonlyRootfs: s.ReadOnly, Isolation: s.Isolation,
		Init: s.Init, Sysctls: s.Sysctls, CapAdd: s.CapabilityAdd, CapDrop: s.CapabilityDrop, OomScoreAdj: int(s.OomScoreAdj),
		SecurityOpt: securityOptions(s.Privileges),
	}
	if d := s.DNSConfig; d != nil {
		out.DNS, out.DNSSearch, out.DNSOptions = d.Nameservers, d.Search, d.Options
	}
	for _, line := range s.Hosts { // as in hosts(5); aliases are left out, as with Docker
		if parts := strings.Fields(line); len(parts) > 1 {
			out.ExtraHosts = append(out.ExtraHosts, parts[1]+":"+parts[0])
		}
	}
	if d := w.task.LogDriver; d != nil {
		out.LogConfig = container.LogConfig{Type: d.Name, Config: d.Options}
	}
	return out
}

func (w *wish) resources() container.Resources {
	out := container.Resources{Ulimits: w.spec.Ulimits}
	if pids := w.task.Spec.GetContainer().PidsLimit; pids > 0 {
		out.PidsLimit = &pids
	}
	r := w.task.Spec.Resources
	if r == nil || r.Limits == nil {
		return out
	}
	if r.Limits.MemoryBytes > 0 {
		out.Memory = r.Limits.MemoryBytes
		switch swap := r.SwapBytes; {
		case swap == nil:
		case swap.Value == -1:
			out.MemorySwap = -1
		case swap.Value >= 0: // Docker's word is the sum
			out.MemorySwap = out.Memory + swap.Value
		}
	}
	if r.MemorySwappiness != nil {
		out.MemorySwappiness = &r.MemorySwappiness.Value
	}
	if r.Limits.NanoCPUs > 0 {
		out.NanoCPUs = r.Limits.NanoCPUs
	}
	return out
}

//docker:no service create --credential-spec, service update --credential-spec: as with Docker Engine on Linux: tasks are rejected
//docker:partly service create --isolation, service update --isolation: `default`, as with Docker Engine on Linux
func securityOptions(p *swarm.Privileges) (out []string) {
	if p == nil {
		return nil
	}
	if c := p.CredentialSpec; c != nil {
		for kind, value := range map[string]string{"file": c.File, "registry": c.Registry, "config": c.Config} {
			if value != "" {
				out = append(out, "credentialspec="+kind+"://"+value)
			}
		}
	}
	if s := p.SELinuxContext; s != nil {
		if s.Disable {
			out = append(out, "label=disable")
		}
		for _, one := range [][2]string{{"user", s.User}, {"role", s.Role}, {"level", s.Level}, {"type", s.Type}} {
			if one[1] != "" {
				out = append(out, "label="+one[0]+":"+one[1])
			}
		}
	}
	if s := p.Seccomp; s != nil {
		switch s.Mode {
		case swarm.SeccompModeUnconfined:
			out = append(out, "seccomp=unconfined")
		case swarm.SeccompModeCustom:
			out = append(out, "seccomp="+string(s.Profile))
		}
	}
	if a := p.AppArmor; a != nil && a.Mode == swarm.AppArmorModeDisabled {
		out = append(out, "apparmor=unconfined")
	}
	if p.NoNewPrivileges {
		out = append(out, "no-new-privileges=true")
	}
	return out
}

// files reads what the task is given as files, and where each goes. Errors: one is not
// here; its owner is no number.
func (w *wish) files(deps exec.DependencyGetter, at func(n int) string) (files []model.TaskFile, points []containerspec.MountPoint, err error) {
	add := func(kind, name, uid, gid string, mode fs.FileMode, target string, data []byte) error {
		f := model.TaskFile{Data: data, Mode: mode}
		if f.UID, err = number(uid); err != nil {
			return fmt.Errorf("invalid UID %q of %s %s: %w", uid, kind, name, err)
		}
		if f.GID, err = number(gid); err != nil {
			return fmt.Errorf("invalid GID %q of %s %s: %w", gid, kind, name, err)
		}
		points = append(points, containerspec.MountPoint{Unlisted: true, MountPoint: container.MountPoint{
			Type: mount.TypeBind, Source: at(len(files)), Destination: target, Propagation: mount.PropagationRPrivate,
		}})
		files = append(files, f)
		return nil
	}
	for _, r := range w.spec.Secrets {
		s, err := deps.Secrets().Get(r.SecretID)
		if err != nil {
			return nil, nil, fmt.Errorf("unable to get secret from secret store: %w", err)
		}
		if err := add("secret", r.SecretName, r.File.UID, r.File.GID, r.File.Mode, below("/run/secrets", r.File.Name), s.Spec.Data); err != nil {
			return nil, nil, err
		}
	}
	for _, r := range w.spec.Configs {
		if r.File == nil {
			continue // is for the runtime
		}
		c, err := deps.Configs().Get(r.ConfigID)
		if err != nil {
			return nil, nil, fmt.Errorf("unable to get config from config store: %w", err)
		}
		if err := add("config", r.ConfigName, r.File.UID, r.File.GID, r.File.Mode, below("/", r.File.Name), c.Spec.Data); err != nil {
			return nil, nil, err
		}
	}
	return files, points, nil
}

// below returns where a file of that name goes; an absolute name says it itself.
func below(folder, name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(folder, path.Clean("/"+name))
}

// number reads the number of a user or group; 0 if there is none.
func number(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}
