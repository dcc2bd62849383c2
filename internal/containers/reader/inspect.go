package reader

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/logoptions"
)

// Inspect returns everything about a container, as the API has it from 1.52 on.
func (rd *Reader) Inspect(_ context.Context, ref string) (container.InspectResponse, error) {
	b, err := rd.o.Containers.Find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	rec := b.Record()
	command := slices.Concat(rec.Config.Entrypoint, rec.Config.Cmd)
	f := rd.o.Dirs.Files(rec.ID)
	out := container.InspectResponse{
		ID: string(rec.ID), Created: rec.Created.Format(time.RFC3339Nano), Name: "/" + rec.Name,
		Path: command[0], Args: command[1:], State: containerview.State(rec), Image: string(rec.Image),
		ResolvConfPath: f.ResolvConf, HostnamePath: f.Hostname, HostsPath: f.Hosts,
		RestartCount: rec.RestartCount, Driver: cmp.Or(rd.o.StorageDriver, "overlayfs"), Platform: "linux",
		ExecIDs: rd.o.Execs.Unended(b.ID()), HostConfig: rec.Host, Config: rec.Config, Mounts: containerview.Mounts(rec.Mounts),
		NetworkSettings: rd.view().NetworkSettings(rec),
	}
	if len(rec.Host.Links) > 0 && !rec.Host.NetworkMode.IsUserDefined() {
		host := *rec.Host
		host.Links, out.HostConfig = shownLinks(rd.o.Containers, rec), &host
	}
	if rec.Host.LogConfig.Type == logoptions.JSONFile {
		out.LogPath = rd.o.Dirs.Log(rec.ID)
	}
	return out, nil
}

// view shows containers as they are on their networks now.
func (rd *Reader) view() containerview.View {
	return containerview.View{State: rd.o.Engine.Snapshot(), Facts: rd.o.Engine.Facts(), Drivers: rd.o.Drivers}
}
