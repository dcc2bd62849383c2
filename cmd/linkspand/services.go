package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/services"
	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/taskfiles"
	"github.com/linkspan/linkspan/internal/tasks"
)

// newTasks makes what runs tasks of services. It does nothing until there are some.
func (d swarmWork) newTasks() {
	d.tasks = tasks.New(tasks.Options{
		Lives: d.manager, Looks: d.manager, Events: &d.events, Images: d.images, Networks: d.swarm, Describe: d.describe, Led: d.swarm.Led,
		Files: taskfiles.New(filepath.Join(d.config.ExecRoot, "tasks")), Offline: os.Getenv("DOCKER_SERVICE_PREFER_OFFLINE_IMAGE") == "1", Drain: tasks.DefaultDrain, Logger: d.log,
	})
}

// swarmWork is what a daemon does for a swarm. It is made before containers are known.
type swarmWork struct{ *daemon }

// Controller implements cluster.Tasks.
func (d swarmWork) Controller(task *api.Task) (exec.Controller, error) {
	return d.tasks.Controller(task)
}

// Secrets implements exec.SecretsProvider.
func (d swarmWork) Secrets() exec.SecretsManager { return d.tasks.Secrets() }

// Configs implements exec.ConfigsProvider.
func (d swarmWork) Configs() exec.ConfigsManager { return d.tasks.Configs() }

// Volumes implements exec.VolumesProvider.
func (d swarmWork) Volumes() exec.VolumesManager { return d.tasks.Volumes() }

// removeTasks removes the containers of a node's tasks.
func (d swarmWork) removeTasks(ctx context.Context, node string) error {
	return d.tasks.RemoveAll(ctx, node)
}

// tellOfSwarm publishes what happens to objects of the swarm, on managers.
func (d swarmWork) tellOfSwarm(ctx context.Context, m cluster.Manager) {
	if err := services.Follow(ctx, m, d.events.Publish); ctx.Err() == nil {
		d.log.Info("events of the swarm are not told any more", "op", "swarm.events", "err", err)
	}
}

// serviceOptions are what the verbs of services are made of.
func (d swarmWork) serviceOptions() services.Options {
	return services.Options{
		Manage: func(ctx context.Context, ask func(context.Context, cluster.Manager) error) error {
			return d.swarm.Node().Manage(ctx, ask)
		},
		LocalNetwork: func(ref string) (model.Network, bool) {
			n, err := d.engine.Snapshot().FindNetwork(ref)
			return n, err == nil
		},
		DrawName: func() string { return containerspec.DrawName(rand.IntN) },
	}
}
