package containerview

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Filters returns the names of all filters of `docker ps`.
func Filters() []string {
	return []string{"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation",
		"label", "name", "network", "publish", "since", "status", "volume"}
}

// CheckValues refuses values that no container could have.
func CheckValues(f query.Filters) error {
	for _, status := range f["status"] {
		if err := container.ValidateContainerState(container.ContainerState(status)); err != nil {
			return model.Errorf(model.Invalid, "invalid filter 'status=%s': %w", status, err)
		}
	}
	for _, status := range f["health"] {
		if err := container.ValidateHealthStatus(container.HealthStatus(status)); err != nil {
			return model.Errorf(model.Invalid, "invalid filter 'health=%s': %w", status, err)
		}
	}
	for _, code := range f["exited"] {
		if _, err := strconv.Atoi(code); err != nil {
			return model.Errorf(model.Invalid, "invalid filter 'exited=%s': %w", code, err)
		}
	}
	for _, key := range []string{"publish", "expose"} {
		for _, port := range f[key] {
			if _, err := network.ParsePortRange(port); err != nil {
				return model.Errorf(model.Invalid, "invalid filter '%s=%s'", key, port)
			}
		}
	}
	return nil
}

// Matches tells whether all filters hold but those that compare containers (before,
// since).
func (v View) Matches(r containerrecord.Record, f query.Filters) bool {
	return f.MatchPattern("id", string(r.ID)) &&
		(f.MatchPattern("name", r.Name) || f.MatchPattern("name", "/"+r.Name)) &&
		f.MatchPattern("status", string(Status(r))) &&
		f.Match("exited", func(v string) bool {
			return !r.State.Running && !r.State.FinishedAt.IsZero() && v == strconv.Itoa(r.State.ExitCode)
		}) &&
		f.Match("ancestor", func(v string) bool { return ancestor(v, r) }) &&
		f.MatchExact("health", string(Health(r).Status)) &&
		v.hasPorts(r, f) &&
		f.Match("volume", func(v string) bool { return mounted(r, v) }) &&
		f.Match("network", func(n string) bool { return v.joined(r, n) }) &&
		f.MatchLabels("label", r.Config.Labels)
}

// ancestor tells whether v names the container's image.
func ancestor(v string, r containerrecord.Record) bool {
	id := strings.TrimPrefix(string(r.Image), "sha256:")
	image := r.Config.Image
	return v == image || v+":latest" == image || v == image+":latest" ||
		len(v) >= 4 && strings.HasPrefix(id, strings.TrimPrefix(v, "sha256:"))
}

// hasPorts tells whether a container has one of the ports that the filters name:
// with "publish" ports of the host that lead to it, with "expose" its own. As with
// Docker one of the two is enough, and only what is open now counts.
func (v View) hasPorts(r containerrecord.Record, f query.Filters) bool {
	if !f.Has("publish") && !f.Has("expose") {
		return true
	}
	for _, p := range v.ports(r) {
		outer, public := network.PortFrom(p.PublicPort, network.IPProtocol(p.Type))
		inner, private := network.PortFrom(p.PrivatePort, network.IPProtocol(p.Type))
		if p.PublicPort != 0 && public && slices.ContainsFunc(f["publish"], contains(outer)) ||
			private && slices.ContainsFunc(f["expose"], contains(inner)) {
			return true
		}
	}
	return false
}

// contains tells whether a filter's value, a port or a range, has a port in it.
func contains(p network.Port) func(string) bool {
	return func(v string) bool {
		wanted, err := network.ParsePortRange(v)
		return err == nil && inRange(p, wanted)
	}
}

func inRange(p network.Port, r network.PortRange) bool {
	return p.Proto() == r.Proto() && p.Num() >= r.Start() && p.Num() <= r.End()
}

func mounted(r containerrecord.Record, v string) bool {
	return slices.ContainsFunc(r.Mounts, func(p containerspec.MountPoint) bool {
		return p.Name == v || p.Source == v || p.Destination == v
	})
}

// joined tells whether the container is a member of the network, by name or ID.
func (v View) joined(r containerrecord.Record, which string) bool {
	for name, e := range v.Networks(r) {
		if which == name || e.NetworkID != "" && strings.HasPrefix(e.NetworkID, which) {
			return true
		}
	}
	return false
}

// Summary returns a container as `docker ps` has it. now is what its times are relative
// to.
func (v View) Summary(r containerrecord.Record, now time.Time) container.Summary {
	out := container.Summary{
		ID: string(r.ID), Names: []string{"/" + r.Name}, Image: r.Config.Image, ImageID: string(r.Image),
		Command: commandLine(r), Created: r.Created.Unix(), Ports: v.ports(r),
		Labels: r.Config.Labels, State: Status(r), Status: statusText(r, now),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: v.Networks(r)},
		Mounts:          Mounts(r.Mounts),
	}
	health := Health(r)
	out.Health = &health
	out.HostConfig.NetworkMode = string(r.Host.NetworkMode)
	out.HostConfig.Annotations = r.Host.Annotations
	return out
}

// commandLine quotes words as Docker does: only those with spaces.
func commandLine(r containerrecord.Record) string {
	words := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	for i, w := range words {
		if strings.Contains(w, " ") && i > 0 {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

// ports returns the ports of a running container.
func (v View) ports(r containerrecord.Record) []container.PortSummary {
	open, has := v.openPorts(r)
	if !has || !r.State.Running {
		return []container.PortSummary{}
	}
	return portSummaries(r.Config.ExposedPorts, open)
}
