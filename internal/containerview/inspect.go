// Package containerview shows containers as the API has them: docker inspect, docker ps,
// its filters, its column STATUS, and the ports and networks in both.
//
// It is pure: it takes records, the engine's snapshot, and the time.
package containerview

import (
	"cmp"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// View shows containers on networks as they are in one snapshot.
type View struct {
	State   *state.Snapshot
	Facts   facts.Set  // what somebody outside has said of endpoints
	Drivers driver.Set // the kinds of networks there are
}

// State returns how far a container has come.
func State(r containerrecord.Record) *container.State {
	s := r.State
	return &container.State{
		Status: Status(r), Running: s.Running, Paused: s.Paused, Restarting: s.Restarting,
		OOMKilled: s.OOMKilled, Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: s.StartedAt.Format(time.RFC3339Nano), FinishedAt: s.FinishedAt.Format(time.RFC3339Nano),
		Health: r.Health,
	}
}

// Mounts returns the mounts that Docker lists, in the order of their targets;
// never nil.
func Mounts(points []containerspec.MountPoint) []container.MountPoint {
	out := make([]container.MountPoint, 0, len(points))
	for _, p := range points {
		if !p.Unlisted {
			out = append(out, p.MountPoint)
		}
	}
	slices.SortFunc(out, func(a, b container.MountPoint) int { return cmp.Compare(a.Destination, b.Destination) })
	return out
}

// NetworkSettings returns the networks of a container and its sandbox. The
// sandbox is shown only while there is one.
func (v View) NetworkSettings(r containerrecord.Record) *container.NetworkSettings {
	out := &container.NetworkSettings{Ports: network.PortMap{}, Networks: v.Networks(r)}
	sb, ok := v.State.Sandbox(r.Sandbox)
	if !ok || !sb.Up {
		return out
	}
	out.SandboxID = string(sb.ID)
	out.SandboxKey = filepath.Join(model.NetnsDir, model.NamespaceOf(r.ID))
	if sb.Mode == model.SandboxHost {
		out.SandboxKey = filepath.Join(model.NetnsDir, "default")
		return out
	}
	if open, has := v.openPorts(r); has {
		out.Ports = portMap(r.Config.ExposedPorts, open)
	}
	return out
}
