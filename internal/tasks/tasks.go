// Package tasks runs what services of a swarm ask of this host: each task is a container.
//
//	swarmkit's agent ─▶ Controller ─▶ Prepare: networks, image, files, container
//	                                  Start:   and wait until it is well
//	                                  Wait, Shutdown, Remove
//
// It promises that a task has one container, whose name and labels say which, so that
// whoever starts again after the daemon finds it and goes on where it was; that a task
// serves only while it is well, and no more once it is to end; and that what is made for
// a task goes with it. It must not decide which tasks there are: managers do.
package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/swarmkit/v2/agent"
	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/template"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Lives makes containers, and begins and ends their lives.
type Lives interface {
	Create(ctx context.Context, r containers.CreateRequest) (id string, remarks []string, err error)
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, o containers.StopOptions) error
	Kill(ctx context.Context, ref, signal string) error
	Remove(ctx context.Context, ref string, o containers.RemoveOptions) error
}

// Looks tells of containers.
type Looks interface {
	Inspect(ctx context.Context, ref string) (container.InspectResponse, error)
	List(ctx context.Context, o containers.ListOptions) ([]container.Summary, error)
	Wait(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error)
	LogEntries(ctx context.Context, ref string, o containers.LogOptions, each func(containers.LogEntry) error) error
	// SetServing says whether a container is ready for requests to its service.
	SetServing(ctx context.Context, ref string, yes bool) error
}

// Events tells what happens to containers.
type Events interface {
	Subscribe(ctx context.Context, since, until time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message)
}

// Images are those of this host, and the way to get more.
type Images interface {
	Find(ctx context.Context, ref string) (model.Image, error)
	Pull(ctx context.Context, t images.Transfer) error
}

// Networks has networks of the swarm made on this host.
type Networks interface {
	// EnsureFor makes a network for a task. It stays until DropFor, and while somebody is
	// on it.
	EnsureFor(ctx context.Context, task string, n model.Network) error
	// DropFor says that a task needs a network no more.
	DropFor(ctx context.Context, task string, id model.NetworkID)
}

// Files keeps small files of tasks in memory.
type Files interface {
	// Path returns where the nth file of a task is.
	Path(task string, n int) string
	// Put writes the files of a task; those that are there stay.
	Put(task string, files []model.TaskFile) error
	// Drop removes them; none is success.
	Drop(task string) error
}

// Options are what a Manager is made of. All but Led, Offline and Drain are needed.
type Options struct {
	Lives    Lives
	Looks    Looks
	Events   Events
	Images   Images
	Networks Networks
	Files    Files
	// Describe is what this host says of itself to a swarm.
	Describe func(context.Context) (cluster.Description, error)
	// Led tells whether the swarm has a leader that hears of this host, who replaces what ends; nil: always.
	Led func(context.Context) bool
	// Offline says that images are not looked for elsewhere.
	Offline bool
	// Drain is how long a container that others reach by its service goes on after it has said that it
	// serves no more, so that all hosts hear of it first.
	Drain  time.Duration
	Logger *slog.Logger
}

// Manager runs tasks. It keeps what they depend on: secrets and configs.
type Manager struct {
	exec.DependencyManager
	o Options
}

// New returns a manager that runs no tasks yet. Those that ran come back when the swarm
// asks for them.
func New(o Options) *Manager {
	return &Manager{DependencyManager: agent.NewDependencyManager(nil), o: o}
}

// Controller returns who runs a task. Errors: it is none that can be run here.
func (m *Manager) Controller(t *api.Task) (exec.Controller, error) {
	if t.Spec.GetContainer() == nil {
		return nil, fmt.Errorf("unsupported runtime: %T", t.Spec.GetRuntime())
	}
	ctx, cancel := context.WithTimeout(context.Background(), describeTimeout)
	defer cancel()
	d, err := m.o.Describe(ctx)
	if err != nil {
		return nil, err
	}
	node := &api.NodeDescription{Hostname: d.Hostname, Platform: &api.Platform{Architecture: d.Architecture, OS: "linux"}}
	w, err := newWish(t, node)
	if err != nil {
		return nil, err
	}
	deps := template.NewTemplatedDependencyGetter(agent.Restrict(m, t), t, node)
	return newController(m.o, w, deps), nil
}

// DefaultDrain is many times what it takes managers to pass on that a task is not ready.
const DefaultDrain = 500 * time.Millisecond

const (
	// describeTimeout bounds looking at this host.
	describeTimeout = 10 * time.Second

	prefix    = "com.docker.swarm."
	taskLabel = prefix + "task.id"
	nodeLabel = prefix + "node.id"
)

// RemoveAll removes the containers of all tasks of a node, which leaves its swarm. It goes
// on past those that cannot be removed.
func (m *Manager) RemoveAll(ctx context.Context, node string) error {
	list, err := m.o.Looks.List(ctx, containers.ListOptions{All: true, Filters: query.Filters{"label": {nodeLabel + "=" + node}, "is-task": {"true"}}})
	if err != nil {
		return err
	}
	var failed error
	for _, one := range list {
		if err := m.o.Lives.Remove(ctx, one.ID, containers.RemoveOptions{Force: true, Volumes: true}); err != nil && model.KindOf(err) != model.NotFound {
			m.o.Logger.Warn("the container of a task stays", "op", "swarm.leave", "container", model.Short(model.ContainerID(one.ID)), "err", err)
			failed = err
			continue
		}
		if err := m.o.Files.Drop(one.Labels[taskLabel]); err != nil {
			failed = err
		}
	}
	return failed
}
