package dockerapi

import (
	"context"
	"io"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/networks"
	"github.com/linkspan/linkspan/internal/query"
	"github.com/linkspan/linkspan/internal/state"
	"github.com/linkspan/linkspan/internal/workload"
)

// Containers makes, shows and removes containers.
type Containers interface {
	Create(ctx context.Context, r workload.CreateRequest) (id string, warnings []string, err error)
	List(ctx context.Context, o workload.ListOptions) ([]container.Summary, error)
	Inspect(ctx context.Context, ref string) (container.InspectResponse, error)
	Remove(ctx context.Context, ref string, o workload.RemoveOptions) error
	Prune(ctx context.Context, f workload.Filters) (container.PruneReport, error)
}

// Lifecycle starts and ends containers.
type Lifecycle interface {
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, o workload.StopOptions) error
	Restart(ctx context.Context, ref string, o workload.StopOptions) error
	Kill(ctx context.Context, ref, signal string) error
	// Wait has registered when it returns; the channel yields one answer.
	Wait(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error)
}

// Control changes containers that there are.
type Control interface {
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	Rename(ctx context.Context, ref, name string) error
	Update(ctx context.Context, ref string, c container.UpdateConfig) (container.UpdateResponse, error)
	Top(ctx context.Context, ref string, args []string) (container.TopResponse, error)
}

// Terminals reaches containers' standard streams.
type Terminals interface {
	IsTTY(ref string) (bool, error)
	Attach(ctx context.Context, ref string, o workload.AttachOptions, s workload.Streams) error
	Logs(ctx context.Context, ref string, o workload.LogOptions, out workload.Streams) error
	Resize(ctx context.Context, ref string, width, height uint) error
}

// Execs runs additional processes in containers.
type Execs interface {
	CreateExec(ctx context.Context, ref string, r container.ExecCreateRequest) (string, error)
	StartExec(ctx context.Context, id string, o workload.ExecStart, s workload.Streams) error
	InspectExec(ctx context.Context, id string) (container.ExecInspectResponse, error)
	// ExecReady refuses an exec whose container does not run, or is paused.
	ExecReady(id string) error
	ResizeExec(ctx context.Context, id string, width, height uint) error
}

// Memberships lets containers join and leave networks, and ends their links.
type Memberships interface {
	Connect(ctx context.Context, ref, networkRef string, e *network.EndpointSettings) error
	Disconnect(ctx context.Context, ref, networkRef string, force bool) error
	// RemoveLink removes a link of the default bridge, called "container/alias".
	RemoveLink(ctx context.Context, name string) error
}

// Events is what happened and what happens.
type Events interface {
	Publish(e events.Message)
	// Subscribe returns the past events since since (none if it is zero) and a
	// channel of those to come, closed at until or with ctx.
	Subscribe(ctx context.Context, since, until time.Time, match func(events.Message) bool) (past []events.Message, live <-chan events.Message)
}

// Usage counts.
type Usage interface {
	Counts() (running, paused, stopped int)
	// Size returns the bytes that a container has written, and those of all it sees.
	Size(ctx context.Context, ref string) (written, all int64, err error)
}

// Images shows and removes images.
type Images interface {
	Find(ctx context.Context, ref string) (model.Image, error)
	// List returns the images that meet all filters, with the names asked for.
	List(ctx context.Context, f query.Filters) ([]model.Image, error)
	// Users returns how many containers are made from an image.
	Users(id model.ImageID) int
	Tag(ctx context.Context, ref, name string) error
	// Remove takes a name off an image and deletes the image with its last name.
	Remove(ctx context.Context, ref string, force bool) ([]images.Change, error)
	Prune(ctx context.Context, f query.Filters) (done []images.Change, reclaimed uint64, err error)
}

// Transfer moves images into and out of the store.
type Transfer interface {
	Load(ctx context.Context, archive io.Reader) ([]model.Image, error)
	Import(ctx context.Context, rootfs io.Reader, tag string, changes []string) (model.Image, error)
	Save(ctx context.Context, refs []string, archive io.Writer) error
}

// Networks makes, shows and removes networks.
type Networks interface {
	Create(ctx context.Context, r networks.CreateRequest) (model.Network, error)
	Find(ref string) (networks.View, error)
	Endpoint(id model.EndpointID) (model.Endpoint, bool)
	// List returns the networks that meet all filters, the oldest first.
	List(f query.Filters) ([]networks.View, error)
	Remove(ctx context.Context, ref string) error
	// Prune returns the names of the networks that it removed.
	Prune(ctx context.Context, f query.Filters) ([]string, error)
	// Drivers returns the kinds of networks there are.
	Drivers() []string
}

// Inspector is the engine, as far as the private socket looks into it.
type Inspector interface {
	Snapshot() *state.Snapshot
	Plan() desired.State
	// Check says what differs between the plan and the kernel; Resync repairs it.
	Check(ctx context.Context) (desired.Report, error)
	Resync(ctx context.Context) (desired.Report, error)
}

// Backends is everything the door passes requests on to. All are needed.
type Backends struct {
	Containers  Containers
	Lifecycle   Lifecycle
	Control     Control
	Terminals   Terminals
	Execs       Execs
	Memberships Memberships
	Events      Events
	Usage       Usage
	Images      Images
	Transfer    Transfer
	Networks    Networks
}

// BackendsOf returns the backends that the hubs make up.
func BackendsOf(m *workload.Manager, i *images.Manager, n *networks.Manager, bus *events.Bus) Backends {
	return Backends{
		Containers: m, Lifecycle: m, Control: m, Terminals: m, Execs: m.Execs(), Memberships: m,
		Events: bus, Usage: m, Images: i, Transfer: i, Networks: n,
	}
}
