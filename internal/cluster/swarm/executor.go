package swarm

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/allocator"
	"github.com/linkspan/linkspan/internal/model"
)

// Description is what a node says of itself to the swarm.
type Description struct {
	Hostname, Architecture, EngineVersion string
	Labels                                []string // key=value; of one key the last counts
	CPUs                                  int
	Memory                                int64    // bytes
	Volume, Network, Log                  []string // drivers
}

// Tasks runs what services ask for, and keeps what they depend on. Swarmkit's types are
// its affair.
type Tasks interface {
	Controller(t *api.Task) (exec.Controller, error)
	exec.DependencyManager
}

// Places is told of the places on networks that containers were given which no service
// made.
type Places interface {
	// Place is a container's place on a network: until Left ends.
	Place(ctx context.Context, p Place) error
	// Left returns when the container is not on the network any more.
	Left(ctx context.Context, p Place) error
	// Networks are those that this node is to have, whoever is on them, such as the
	// ingress network; all of them, each time.
	Networks(ctx context.Context, wanted []model.Network) error
}

// Place is a container's place on a network of the swarm.
type Place struct {
	Task      string // by which the swarm knows it
	Container model.ContainerID
	Network   model.Network
	Addresses []netip.Prefix // with the length of their subnets; one a family
}

// ExecutorOptions are what does on this node what the swarm asks for.
type ExecutorOptions struct {
	Describe func(context.Context) (Description, error)
	Places   Places
	Tasks    Tasks // nil: none of services are taken
}

// newExecutor returns what a node does as the swarm asks it to.
func newExecutor(o ExecutorOptions) exec.Executor {
	e := &executor{o}
	if o.Tasks == nil {
		return e
	}
	return &taskExecutor{e, o.Tasks}
}

// taskExecutor is an executor that takes tasks of services: swarmkit looks for the keeper
// of what they depend on among its methods.
type taskExecutor struct {
	*executor
	exec.DependencyManager
}

// executor implements exec.Executor.
type executor struct{ ExecutorOptions }

// Describe implements exec.Executor.
func (e *executor) Describe(ctx context.Context) (*api.NodeDescription, error) {
	d, err := e.ExecutorOptions.Describe(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.NodeDescription{
		Hostname: d.Hostname, Platform: &api.Platform{Architecture: d.Architecture, OS: "linux"},
		Engine:    &api.EngineDescription{EngineVersion: d.EngineVersion, Labels: map[string]string{}},
		Resources: &api.Resources{NanoCPUs: int64(d.CPUs) * 1e9, MemoryBytes: d.Memory},
	}
	for _, l := range d.Labels {
		if key, value, ok := strings.Cut(l, "="); ok {
			out.Engine.Labels[key] = value
		}
	}
	for kind, names := range map[string][]string{"Volume": d.Volume, "Network": append([]string{allocator.Driver}, d.Network...), "Log": d.Log} {
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			out.Engine.Plugins = append(out.Engine.Plugins, api.PluginDescription{Type: kind, Name: name})
		}
	}
	slices.SortFunc(out.Engine.Plugins, func(a, b api.PluginDescription) int {
		return strings.Compare(a.Type+" "+a.Name, b.Type+" "+b.Name)
	})
	return out, nil
}

// Configure implements exec.Executor: it hands on which networks are in use here.
func (e *executor) Configure(ctx context.Context, n *api.Node) error {
	var wanted []model.Network
	for _, at := range append(slices.Clone(n.Attachments), n.Attachment) {
		if at == nil || at.Network == nil || !at.Network.Spec.Ingress {
			continue // those of containers come with these
		}
		one, err := NetworkOf(at.Network)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(wanted, func(w model.Network) bool { return w.ID == one.ID }) {
			wanted = append(wanted, one)
		}
	}
	return e.Places.Networks(ctx, wanted)
}

// Controller implements exec.Executor.
func (e *executor) Controller(t *api.Task) (exec.Controller, error) {
	if at := t.Spec.GetAttachment(); at != nil {
		return newPlaceController(e.Places, t, at.ContainerID)
	}
	if e.Tasks == nil {
		return nil, fmt.Errorf("unsupported runtime: %T", t.Spec.GetRuntime())
	}
	return e.Tasks.Controller(t)
}

// SetNetworkBootstrapKeys implements exec.Executor. Keys of nodes are their own here,
// not the swarm's.
func (*executor) SetNetworkBootstrapKeys([]*api.EncryptionKey) error { return nil }

// placeController holds one container's place on one network.
type placeController struct {
	places Places
	place  Place
}

func newPlaceController(places Places, t *api.Task, container string) (exec.Controller, error) {
	if len(t.Networks) != 1 || t.Networks[0].Network == nil {
		return nil, fmt.Errorf("an attachment is to one network, not to %d", len(t.Networks))
	}
	n, err := NetworkOf(t.Networks[0].Network)
	if err != nil {
		return nil, err
	}
	c := &placeController{places, Place{Task: t.ID, Container: model.ContainerID(container), Network: n}}
	for _, text := range t.Networks[0].Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("address of an attachment: %w", err)
		}
		c.place.Addresses = append(c.place.Addresses, p)
	}
	return c, nil
}

// Update implements exec.Controller: nothing of a place changes.
func (*placeController) Update(context.Context, *api.Task) error { return nil }

// Prepare implements exec.Controller.
func (*placeController) Prepare(context.Context) error { return nil }

// Start implements exec.Controller.
func (c *placeController) Start(ctx context.Context) error { return c.places.Place(ctx, c.place) }

// Wait implements exec.Controller: a place ends when its container leaves the network.
func (c *placeController) Wait(ctx context.Context) error { return c.places.Left(ctx, c.place) }

// Shutdown implements exec.Controller.
func (*placeController) Shutdown(context.Context) error { return nil }

// Terminate implements exec.Controller.
func (*placeController) Terminate(context.Context) error { return nil }

// Remove implements exec.Controller.
func (*placeController) Remove(context.Context) error { return nil }

// Close implements exec.Controller.
func (*placeController) Close() error { return nil }

// Attach asks the swarm for a container's place on a network that a user names, with
// these addresses. It returns the place's task; the place itself comes by Places. Errors
// are swarmkit's, in Docker's words.
func (n *Node) Attach(ctx context.Context, c model.ContainerID, network string, wanted []netip.Addr) (task string, err error) {
	a := n.agent()
	if a == nil {
		return "", model.Errorf(model.Unfit, "invalid cluster node while attaching to network")
	}
	var texts []string
	for _, a := range wanted {
		texts = append(texts, a.String())
	}
	task, err = a.ResourceAllocator().AttachNetwork(ctx, string(c), network, texts)
	if err != nil {
		return "", model.Errorf(model.Unfit, "Could not attach to network %s: %v", network, err)
	}
	return task, nil
}

// Why returns what the swarm says of a place that does not come; empty if it says nothing,
// or this node is no manager and cannot know.
func (n *Node) Why(ctx context.Context, task string) (why string) {
	_ = n.Manage(ctx, func(ctx context.Context, m Manager) error { // what is not known is not said
		r, err := m.GetTask(ctx, &api.GetTaskRequest{TaskID: task})
		if err == nil {
			why = r.Task.Status.Err
		}
		return err
	})
	return why
}

// Detach gives a place back. One that is gone is success.
func (n *Node) Detach(ctx context.Context, task string) error {
	a := n.agent()
	if a == nil {
		return model.Errorf(model.Unavailable, "invalid cluster node while detaching from network")
	}
	err := failure(a.ResourceAllocator().DetachNetwork(ctx, task))
	if model.KindOf(err) == model.NotFound {
		return nil
	}
	return err
}

// Led tells whether the swarm has a leader that answers this node: it is asked for a
// place that there is not.
func (n *Node) Led(ctx context.Context) bool { return n.Detach(ctx, "none") == nil }
