package containers

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/driver"
)

// reader tells of containers and changes none.
type reader struct {
	*registry
	*announcer
	engine        Engine
	drivers       driver.Set
	control       Control // of the processes, for docker top
	images        Images
	sizes         Sizes // nil leaves sizes at 0
	execs         *exec.Execs
	outputs       *outputs
	dirs          containerfiles.Dirs
	storageDriver string
}

// Inspect returns everything about a container, as the API has it from 1.52 on.
func (rd *reader) Inspect(_ context.Context, ref string) (container.InspectResponse, error) {
	b, err := rd.find(ref)
	if err != nil {
		return container.InspectResponse{}, err
	}
	rec := b.snapshot()
	plain := containerrecord.Record(rec)
	command := slices.Concat(rec.Config.Entrypoint, rec.Config.Cmd)
	f := rd.dirs.Files(rec.ID)
	out := container.InspectResponse{
		ID: string(rec.ID), Created: rec.Created.Format(time.RFC3339Nano), Name: "/" + rec.Name,
		Path: command[0], Args: command[1:], State: containerview.State(plain), Image: string(rec.Image),
		ResolvConfPath: f.ResolvConf, HostnamePath: f.Hostname, HostsPath: f.Hosts,
		RestartCount: rec.RestartCount, Driver: cmp.Or(rd.storageDriver, "overlayfs"), Platform: "linux",
		ExecIDs: rd.execs.Unended(b.id), HostConfig: rec.Host, Config: rec.Config, Mounts: containerview.Mounts(rec.Mounts),
		NetworkSettings: rd.view().NetworkSettings(plain),
	}
	if len(rec.Host.Links) > 0 && !rec.mode().IsUserDefined() {
		host := *rec.Host
		host.Links, out.HostConfig = rd.shownLinks(rec), &host
	}
	if rec.Host.LogConfig.Type != "none" {
		out.LogPath = rd.dirs.Log(rec.ID)
	}
	return out, nil
}

// view shows containers as they are on their networks now.
func (rd *reader) view() containerview.View {
	return containerview.View{State: rd.engine.Snapshot(), Drivers: rd.drivers}
}
