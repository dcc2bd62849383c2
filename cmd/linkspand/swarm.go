package main

import (
	"context"
	"os"
	goruntime "runtime"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/kernel/machine"
	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/swarm"
)

// newSwarm makes the part of the daemon that can be a node of a swarm. It does nothing
// until the host is of one.
func (d *daemon) newSwarm() {
	d.swarm = swarm.New(swarm.Options{
		Root: d.config.DataRoot, ExecRoot: d.config.ExecRoot, Advertise: d.config.SwarmAdvertise,
		Engine: d.engine, Host: d.kernel, Overlays: overlays{d}, Describe: d.describe, Changed: d.wakeRemotes, Logger: d.log,
		Tasks: swarmWork{d}, RemoveTasks: swarmWork{d}.removeTasks, Managing: swarmWork{d}.tellOfSwarm,
	})
}

// openSwarm makes this host again the node that it was.
func (d *daemon) openSwarm(ctx context.Context) error {
	swarmWork{d}.newTasks()
	d.later(d.swarm.Close)
	return d.swarm.Open(ctx, d.manager)
}

// describe is what this host says of itself to a swarm.
func (d *daemon) describe(context.Context) (cluster.Description, error) {
	host := machine.Read(os.DirFS("/"))
	return cluster.Description{
		Hostname: host.Name, Architecture: system.Architecture(), EngineVersion: system.Info{Version: version}.Release(),
		Labels: d.settings.Load().Labels, CPUs: goruntime.NumCPU(), Memory: host.Memory,
		Volume: []string{"local"}, Network: d.networks.Drivers(), Log: logoptions.Drivers(),
	}, nil
}

// overlays makes networks of the swarm on this host. They are made by a part of the daemon
// that is made later than the swarm's.
type overlays struct{ *daemon }

// EnsureOverlay implements swarm.Overlays.
func (o overlays) EnsureOverlay(ctx context.Context, n model.Network) error {
	return o.networks.EnsureOverlay(ctx, n)
}

// DropOverlay implements swarm.Overlays.
func (o overlays) DropOverlay(ctx context.Context, id model.NetworkID) error {
	return o.networks.DropOverlay(ctx, id)
}

// EnsureGateway implements swarm.Overlays.
func (o overlays) EnsureGateway(ctx context.Context) error { return o.networks.EnsureGateway(ctx) }
