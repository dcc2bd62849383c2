package main

import (
	"context"
	"os"
	goruntime "runtime"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/dockerapi/system"
	"github.com/linkspan/linkspan/internal/kernel/machine"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/swarm"
)

// newSwarm makes the part of the daemon that can be a node of a swarm. It does nothing
// until the host is of one.
func (d *daemon) newSwarm() {
	d.swarm = swarm.New(swarm.Options{
		Root: d.config.DataRoot, ExecRoot: d.config.ExecRoot, Advertise: d.config.SwarmAdvertise,
		Engine: d.engine, Host: d.kernel, Overlays: overlays{d}, Describe: d.describe, Logger: d.log,
	})
}

// openSwarm makes this host again the node that it was.
func (d *daemon) openSwarm(ctx context.Context) error {
	d.later(d.swarm.Close)
	return d.swarm.Open(ctx, d.manager)
}

// describe is what this host says of itself to a swarm.
func (d *daemon) describe(context.Context) (cluster.Description, error) {
	host := machine.Read(os.DirFS("/"))
	return cluster.Description{
		Hostname: host.Name, Architecture: system.Architecture(), EngineVersion: system.Info{Version: version}.Release(),
		Labels: d.settings.Load().Labels, CPUs: goruntime.NumCPU(), Memory: host.Memory,
		Volume: []string{"local"}, Network: d.networks.Drivers(), Log: []string{"json-file", "none"},
	}, nil
}

// overlays makes networks of the swarm on this host.
type overlays struct{ *daemon }

// EnsureOverlay implements swarm.Overlays.
func (o overlays) EnsureOverlay(context.Context, model.Network) error { return nil }

// DropOverlay implements swarm.Overlays.
func (o overlays) DropOverlay(context.Context, model.NetworkID) error { return nil }

// EnsureGateway implements swarm.Overlays.
func (o overlays) EnsureGateway(context.Context) error { return nil }
