package workload

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// List returns the containers that o chooses, the newest first.
func (m *Manager) List(ctx context.Context, o ListOptions) ([]container.Summary, error) {
	f := o.Filters
	if err := f.Check("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation",
		"label", "name", "network", "publish", "since", "status", "volume"); err != nil {
		return nil, err
	}
	boxes, err := m.between(f)
	if err != nil {
		return nil, err
	}
	if err := checkValues(f); err != nil {
		return nil, err
	}
	if task, _, err := f.Bool("is-task"); err != nil {
		return nil, err
	} else if task {
		boxes = nil // there is no swarm whose tasks they could be
	}
	everything := o.All || o.Limit > 0 || f.Has("status") || f.Has("exited")
	now, linked := time.Now(), m.linkedNames()
	out := []container.Summary{}
	for _, b := range boxes {
		rec := b.snapshot()
		if !rec.State.Running && !everything {
			continue
		}
		if !m.chosen(rec, f) {
			continue
		}
		one := m.summary(rec, now)
		one.Names = append(one.Names, linked[rec.ID]...)
		if o.Size {
			if one.SizeRw, one.SizeRootFs, err = m.sizeOf(ctx, b); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
		if o.Limit > 0 && len(out) == o.Limit {
			break
		}
	}
	return out, nil
}

// between returns the containers made before and since those that the filters
// name.
func (m *Manager) between(f Filters) ([]*box, error) {
	boxes := m.all()
	for _, key := range []string{"before", "since"} {
		for _, ref := range f[key] {
			edge, err := m.find(ref)
			if err != nil {
				return nil, err
			}
			at := edge.snapshot().Created
			boxes = slices.DeleteFunc(boxes, func(b *box) bool {
				created := b.snapshot().Created
				return key == "before" && !created.Before(at) || key == "since" && !created.After(at)
			})
		}
	}
	return boxes, nil
}

// checkValues refuses values that no container could have.
func checkValues(f Filters) error {
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

// chosen tells whether all filters hold.
func (m *Manager) chosen(r record, f Filters) bool {
	return f.MatchPattern("id", string(r.ID)) &&
		(f.MatchPattern("name", r.Name) || f.MatchPattern("name", "/"+r.Name)) &&
		f.MatchPattern("status", string(r.status())) &&
		f.Match("exited", func(v string) bool {
			return !r.State.Running && !r.State.FinishedAt.IsZero() && v == strconv.Itoa(r.State.ExitCode)
		}) &&
		f.Match("ancestor", func(v string) bool { return ancestor(v, r) }) &&
		f.MatchExact("health", string(r.health().Status)) &&
		f.Match("expose", func(v string) bool { return exposes(r, v) }) &&
		f.Match("publish", func(v string) bool { return publishes(r, v) }) &&
		f.Match("volume", func(v string) bool { return mounted(r, v) }) &&
		f.Match("network", func(v string) bool { return m.joined(r, v) }) &&
		f.MatchLabels("label", r.Config.Labels)
}

// ancestor tells whether v names the container's image.
func ancestor(v string, r record) bool {
	id := strings.TrimPrefix(string(r.Image), "sha256:")
	image := r.Config.Image
	return v == image || v+":latest" == image || v == image+":latest" ||
		len(v) >= 4 && strings.HasPrefix(id, strings.TrimPrefix(v, "sha256:"))
}

func exposes(r record, v string) bool {
	wanted, err := network.ParsePortRange(v)
	if err != nil {
		return false
	}
	for port := range r.Config.ExposedPorts {
		if inRange(port, wanted) {
			return true
		}
	}
	return false
}

func publishes(r record, v string) bool {
	wanted, err := network.ParsePortRange(v)
	if err != nil {
		return false
	}
	for port := range r.Host.PortBindings {
		if inRange(port, wanted) {
			return true
		}
	}
	return false
}

func inRange(p network.Port, r network.PortRange) bool {
	return p.Proto() == r.Proto() && p.Num() >= r.Start() && p.Num() <= r.End()
}

func mounted(r record, v string) bool {
	return slices.ContainsFunc(r.Mounts, func(p mountPoint) bool {
		return p.Name == v || p.Source == v || p.Destination == v
	})
}

// joined tells whether the container is a member of the network, by name or ID.
func (m *Manager) joined(r record, v string) bool {
	for name, e := range m.settingsOf(r) {
		if v == name || e.NetworkID != "" && strings.HasPrefix(e.NetworkID, v) {
			return true
		}
	}
	return false
}

func (m *Manager) summary(r record, now time.Time) container.Summary {
	out := container.Summary{
		ID: string(r.ID), Names: []string{"/" + r.Name}, Image: r.Config.Image, ImageID: string(r.Image),
		Command: commandLine(r), Created: r.Created.Unix(), Ports: m.ports(r),
		Labels: r.Config.Labels, State: r.status(), Status: statusText(r, now),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: m.settingsOf(r)},
		Mounts:          reported(r.Mounts),
	}
	health := r.health()
	out.Health = &health
	out.HostConfig.NetworkMode = string(r.mode())
	out.HostConfig.Annotations = r.Host.Annotations
	return out
}

// commandLine quotes words as Docker does: only those with spaces.
func commandLine(r record) string {
	words := slices.Concat(r.Config.Entrypoint, r.Config.Cmd)
	for i, w := range words {
		if strings.Contains(w, " ") && i > 0 {
			words[i] = "'" + w + "'"
		}
	}
	return strings.Join(words, " ")
}

// ports returns the ports of a running container.
func (m *Manager) ports(r record) []container.PortSummary {
	open, has := m.openPorts(r)
	if !has || !r.State.Running {
		return []container.PortSummary{}
	}
	return portSummaries(r.Config.ExposedPorts, open)
}

// statusText is the column STATUS of `docker ps`.
func statusText(r record, now time.Time) string {
	s := r.State
	switch r.status() {
	case container.StateRunning:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + r.healthText()
	case container.StatePaused:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + " (Paused)"
	case container.StateRestarting:
		text := fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
		if why := waitingFor(s); why != "" {
			text += ": " + why
		}
		return text
	case container.StateCreated:
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
}

// ImageUsers returns the containers made from an image; true for those that run.
func (m *Manager) ImageUsers(id model.ImageID) map[model.ContainerID]bool {
	out := map[model.ContainerID]bool{}
	for _, b := range m.all() {
		if rec := b.snapshot(); rec.Image == id {
			out[b.id] = rec.State.Running
		}
	}
	return out
}
