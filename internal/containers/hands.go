package containers

import (
	"context"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/containers/exec"
	"github.com/linkspan/linkspan/internal/containers/mounts"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine is where networks are asked for.
type Engine interface {
	// Do returns once the kernel and the names follow; the snapshot contains the
	// op's effect.
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
	Snapshot() *state.Snapshot
	// Facts returns what somebody outside has said.
	Facts() facts.Set
	// Resync repairs what differs from the model.
	Resync(ctx context.Context) (desired.Report, error)
}

// Containers makes and removes the runtime's containers: a snapshot of an image
// and a configuration, without a process.
type Containers interface {
	// Check refuses what Create could never make.
	Check(spec model.ContainerSpec) error
	Create(ctx context.Context, spec model.ContainerSpec) error
	// Draft makes the file system of a container, which Create then makes a container of,
	// and keeps if it cannot.
	Draft(ctx context.Context, spec model.ContainerSpec) error
	// Delete removes a container without a process, and its file system; one that is
	// gone is success.
	Delete(ctx context.Context, id model.ContainerID) error
	// List returns all of ours, with what their processes do.
	List(ctx context.Context) ([]model.TaskStatus, error)
	// Update changes limits, of the process too if there is one. Zero leaves a limit
	// as it is.
	Update(ctx context.Context, id model.ContainerID, r model.Resources) error
	// Renew gives the next first process of a container the environment of spec.
	Renew(ctx context.Context, spec model.ContainerSpec) error
}

// Tasks runs containers' first processes.
type Tasks interface {
	// NewTask makes a process that waits for Start. o.Open opens its output.
	NewTask(ctx context.Context, id model.ContainerID, o model.StreamOptions) (*model.Task, error)
	// Reattach is NewTask for a process that was there before the daemon.
	Reattach(ctx context.Context, id model.ContainerID) (*model.Task, error)
	Start(ctx context.Context, id model.ContainerID) error
	// Wait returns a channel that yields the exit, or is closed if ctx ends first.
	Wait(ctx context.Context, id model.ContainerID) (<-chan model.Exit, error)
	// DeleteTask forgets a process, ending it first if it has not ended.
	DeleteTask(ctx context.Context, id model.ContainerID) (model.Exit, error)
}

// Control acts on running containers.
type Control interface {
	// Kill signals the first process, or all; one that has ended is NotFound.
	Kill(ctx context.Context, id model.ContainerID, sig syscall.Signal, all bool) error
	Pause(ctx context.Context, id model.ContainerID) error
	Resume(ctx context.Context, id model.ContainerID) error
	Resize(ctx context.Context, id model.ContainerID, width, height uint) error
	// Pids returns all processes in the container, as the host numbers them.
	Pids(ctx context.Context, id model.ContainerID) ([]int, error)
}

// Volumes keeps what containers mount by name.
type Volumes = mounts.Keeper

// Execs runs additional processes in running containers.
type Execs = exec.Runtime

// Confinement knows how containers are confined that are not told otherwise.
type Confinement interface {
	// SystemPaths returns what is masked and what is read-only.
	SystemPaths() (masked, readonly []string)
}

// Outputs reads what containers print, logs it, and passes it on to clients. It
// goes on while the daemon is away.
type Outputs interface {
	// Open begins to read pipes that exist, before the process has opened its ends.
	// What is read already is read on.
	Open(ctx context.Context, o model.Output) error
	// Begun says that the process has its ends open: their closing is the end.
	Begun(ctx context.Context, id model.ContainerID) error
	// Drain returns once output has ended and is in the log.
	Drain(ctx context.Context, id model.ContainerID) error
	// Close ends reading, and clients once they have got what waits for them.
	Close(ctx context.Context, id model.ContainerID) error
	// Follow gives output from now on, also of a run that is yet to begin.
	Follow(ctx context.Context, id model.ContainerID, stdout, stderr bool) (OutputReader, error)
	// Keep closes the outputs of all containers but those that run.
	Keep(ctx context.Context, running []model.ContainerID) error
}

// OutputReader is live output.
type OutputReader interface {
	streams.Source
	// Joined is the time from which on output comes: what the log has until then is
	// all there was before.
	Joined() time.Time
	Close() error
}
