package migrate

import (
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// translated is a container as it is asked for, made from what is shown of it.
type translated struct {
	options client.ContainerCreateOptions
	needs   []string // names of containers that have to be there before
	running bool
	swarm   bool
}

// translate makes the request for a container from what an engine shows of it: without what the engine added, and with names for IDs,
// which are others where it is made. names has those, of containers and networks.
func translate(c container.InspectResponse, names map[string]string) translated {
	config, host := *c.Config, *c.HostConfig
	out := translated{running: c.State != nil && c.State.Running, swarm: config.Labels["com.docker.swarm.task.id"] != ""}
	if config.Hostname == c.ID[:shortID] {
		config.Hostname = ""
	}
	named := func(mode string) string {
		prefix, ref, shared := strings.Cut(mode, "container:")
		if !shared || prefix != "" {
			if name, ok := names[mode]; ok {
				return name
			}
			return mode
		}
		if name, ok := names[ref]; ok {
			ref = name
		}
		out.needs = append(out.needs, ref)
		return "container:" + ref
	}
	host.NetworkMode = container.NetworkMode(named(string(host.NetworkMode)))
	host.PidMode, host.IpcMode = container.PidMode(named(string(host.PidMode))), container.IpcMode(named(string(host.IpcMode)))
	if host.NetworkMode.IsContainer() || host.NetworkMode.IsHost() { // the name is the other's
		config.Hostname, config.Domainname = "", ""
	}
	host.Links = links(host.Links, &out.needs)
	host.VolumesFrom = slices.Clone(host.VolumesFrom)
	for i, from := range host.VolumesFrom {
		ref, mode, _ := strings.Cut(from, ":")
		if name, ok := names[ref]; ok {
			ref = name
		}
		out.needs = append(out.needs, ref)
		host.VolumesFrom[i] = strings.TrimSuffix(ref+":"+mode, ":")
	}
	keepVolumes(&host, c.Mounts)
	out.options = client.ContainerCreateOptions{Name: strings.TrimPrefix(c.Name, "/"), Config: &config, HostConfig: &host}
	if !host.NetworkMode.IsContainer() && c.NetworkSettings != nil {
		out.options.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: endpoints(c, c.NetworkSettings.Networks)}
	}
	return out
}

// links returns links as they are asked for: an engine shows /other:/this/alias.
func links(shown []string, needs *[]string) []string {
	var out []string
	for _, link := range shown {
		other, alias, _ := strings.Cut(link, ":")
		other, alias = strings.TrimPrefix(other, "/"), alias[strings.LastIndex(alias, "/")+1:]
		*needs = append(*needs, other)
		out = append(out, strings.TrimSuffix(other+":"+alias, ":"))
	}
	return out
}

// endpoints returns what was asked for of a container's networks, without what the engine gave it.
func endpoints(c container.InspectResponse, shown map[string]*network.EndpointSettings) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	for name, e := range shown {
		if e == nil {
			continue
		}
		one := &network.EndpointSettings{IPAMConfig: e.IPAMConfig.Copy(), Links: links(e.Links, new([]string)), DriverOpts: e.DriverOpts, GwPriority: e.GwPriority}
		for _, alias := range e.Aliases {
			if alias != c.ID[:shortID] {
				one.Aliases = append(one.Aliases, alias)
			}
		}
		out[name] = one
	}
	return out
}

// keepVolumes names the volumes that the engine made for a container by itself: a new one would be empty.
func keepVolumes(host *container.HostConfig, mounted []container.MountPoint) {
	host.Binds, host.Mounts = slices.Clone(host.Binds), slices.Clone(host.Mounts)
	for _, m := range mounted {
		if m.Type != mount.TypeVolume || m.Name == "" {
			continue
		}
		if i := slices.IndexFunc(host.Mounts, func(asked mount.Mount) bool { return asked.Target == m.Destination }); i >= 0 {
			host.Mounts[i].Source = m.Name
			continue
		}
		if slices.ContainsFunc(host.Binds, func(bind string) bool {
			return slices.Contains(strings.Split(bind, ":"), m.Destination) && strings.HasPrefix(bind, m.Name+":")
		}) {
			continue
		}
		// one that was asked for by its place alone, by the image, or by --volumes-from, over which a name goes
		host.Binds = slices.DeleteFunc(host.Binds, func(bind string) bool { return bind == m.Destination })
		bind := m.Name + ":" + m.Destination
		if !m.RW {
			bind += ":ro"
		}
		host.Binds = append(host.Binds, bind)
	}
}
