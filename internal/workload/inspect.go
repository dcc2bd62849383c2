package workload

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// Inspect returns everything about a container, as the API has it from 1.52 on.
func (m *Manager) Inspect(_ context.Context, ref string) (container.InspectResponse, error) {
	b, err := m.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	rec := b.snapshot()
	command := slices.Concat(rec.Config.Entrypoint, rec.Config.Cmd)
	f := m.filesOf(rec.ID)
	out := container.InspectResponse{
		ID: string(rec.ID), Created: rec.Created.Format(time.RFC3339Nano), Name: "/" + rec.Name,
		Path: command[0], Args: command[1:], State: stateOf(rec), Image: string(rec.Image),
		ResolvConfPath: f.resolvConf, HostnamePath: f.hostname, HostsPath: f.hosts,
		RestartCount: rec.RestartCount, Driver: cmp.Or(m.o.StorageDriver, "overlayfs"), Platform: "linux",
		ExecIDs: m.execs.Unended(b.id), HostConfig: rec.Host, Config: rec.Config, Mounts: reported(rec.Mounts),
		NetworkSettings: m.networkSettings(rec),
	}
	if len(rec.Host.Links) > 0 && !rec.mode().IsUserDefined() {
		host := *rec.Host
		host.Links, out.HostConfig = m.shownLinks(rec), &host
	}
	if rec.Host.LogConfig.Type != "none" {
		out.LogPath = m.logPath(rec.ID)
	}
	return out, nil
}

func stateOf(r record) *container.State {
	s := r.State
	return &container.State{
		Status: r.status(), Running: s.Running, Paused: s.Paused, Restarting: s.Restarting,
		OOMKilled: s.OOMKilled, Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: s.StartedAt.Format(time.RFC3339Nano), FinishedAt: s.FinishedAt.Format(time.RFC3339Nano),
		Health: r.Health,
	}
}

// reported returns the mounts that Docker lists, in the order of their targets;
// never nil.
func reported(points []mountPoint) []container.MountPoint {
	out := make([]container.MountPoint, 0, len(points))
	for _, p := range points {
		if !p.Unlisted {
			out = append(out, p.MountPoint)
		}
	}
	slices.SortFunc(out, func(a, b container.MountPoint) int { return cmp.Compare(a.Destination, b.Destination) })
	return out
}

// networkSettings returns the networks of a container and its sandbox. The
// sandbox is shown only while there is one.
func (m *Manager) networkSettings(r record) *container.NetworkSettings {
	out := &container.NetworkSettings{Ports: network.PortMap{}, Networks: m.settingsOf(r)}
	sb, ok := m.o.Engine.Snapshot().Sandbox(r.Sandbox)
	if !ok || !sb.Up {
		return out
	}
	out.SandboxID = string(sb.ID)
	out.SandboxKey = filepath.Join(model.NetnsDir, model.NamespaceOf(r.ID))
	if sb.Mode == model.SandboxHost {
		out.SandboxKey = filepath.Join(model.NetnsDir, "default")
		return out
	}
	if open, has := m.openPorts(r); has {
		out.Ports = portMap(r.Config.ExposedPorts, open)
	}
	return out
}
