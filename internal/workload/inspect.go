package workload

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerview"
)

// Inspect returns everything about a container, as the API has it from 1.52 on.
func (m *Manager) Inspect(_ context.Context, ref string) (container.InspectResponse, error) {
	b, err := m.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	rec := b.snapshot()
	plain := containerrecord.Record(rec)
	command := slices.Concat(rec.Config.Entrypoint, rec.Config.Cmd)
	f := m.dirs.Files(rec.ID)
	out := container.InspectResponse{
		ID: string(rec.ID), Created: rec.Created.Format(time.RFC3339Nano), Name: "/" + rec.Name,
		Path: command[0], Args: command[1:], State: containerview.State(plain), Image: string(rec.Image),
		ResolvConfPath: f.ResolvConf, HostnamePath: f.Hostname, HostsPath: f.Hosts,
		RestartCount: rec.RestartCount, Driver: cmp.Or(m.o.StorageDriver, "overlayfs"), Platform: "linux",
		ExecIDs: m.execs.Unended(b.id), HostConfig: rec.Host, Config: rec.Config, Mounts: containerview.Mounts(rec.Mounts),
		NetworkSettings: m.view().NetworkSettings(plain),
	}
	if len(rec.Host.Links) > 0 && !rec.mode().IsUserDefined() {
		host := *rec.Host
		host.Links, out.HostConfig = m.shownLinks(rec), &host
	}
	if rec.Host.LogConfig.Type != "none" {
		out.LogPath = m.dirs.Log(rec.ID)
	}
	return out, nil
}

// view shows containers as they are on their networks now.
func (m *Manager) view() containerview.View {
	return containerview.View{State: m.o.Engine.Snapshot(), Drivers: m.o.Drivers}
}
