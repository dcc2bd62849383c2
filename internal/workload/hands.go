package workload

import (
	"context"
	"io"
	"syscall"
	"time"

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
}

// RecordStore keeps containers' records, in the same file as the engine's state.
type RecordStore interface {
	LoadContainers(ctx context.Context) (map[model.ContainerID][]byte, error)
	// PutContainer returns once the record is on disk.
	PutContainer(ctx context.Context, id model.ContainerID, record []byte) error
	// DeleteContainer of a record that is not there is success.
	DeleteContainer(ctx context.Context, id model.ContainerID) error
}

// Containers makes and removes the runtime's containers: a snapshot of an image
// and a configuration, without a process.
type Containers interface {
	// Check refuses what Create could never make.
	Check(spec model.ContainerSpec) error
	Create(ctx context.Context, spec model.ContainerSpec) error
	// Delete removes a container without a process, and its file system; one that is
	// gone is success.
	Delete(ctx context.Context, id model.ContainerID) error
	// List returns all of ours, with what their processes do.
	List(ctx context.Context) ([]model.TaskStatus, error)
	// Update changes limits, of the process too if there is one. Zero leaves a limit
	// as it is.
	Update(ctx context.Context, id model.ContainerID, r model.Resources) error
}

// Tasks runs containers' first processes.
type Tasks interface {
	// NewTask makes a process that waits for Start, with its streams open and its
	// number on the host.
	NewTask(ctx context.Context, id model.ContainerID, o model.StreamOptions) (*model.Streams, int, error)
	// Reattach is NewTask for a process that was there before the daemon.
	Reattach(ctx context.Context, id model.ContainerID) (*model.Streams, int, error)
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

// Execs runs additional processes in running containers.
type Execs interface {
	// Exec prepares a process; StartExec lets it run and returns its number on the
	// host.
	Exec(ctx context.Context, id model.ContainerID, exec string, p model.Process) (*model.Streams, error)
	StartExec(ctx context.Context, id model.ContainerID, exec string) (int, error)
	WaitExec(ctx context.Context, id model.ContainerID, exec string) (<-chan model.Exit, error)
	ResizeExec(ctx context.Context, id model.ContainerID, exec string, width, height uint) error
	DeleteExec(ctx context.Context, id model.ContainerID, exec string) (model.Exit, error)
}

// Images is the store of images.
type Images interface {
	Images(ctx context.Context) ([]model.Image, error)
	// Image finds an image by name, digest, ID or the beginning of an ID; not found
	// is "No such image: NAME:TAG".
	Image(ctx context.Context, ref string) (model.Image, error)
	Tag(ctx context.Context, source, tag string) error
	// Remove takes a name off an image and deletes the image with its last name.
	Remove(ctx context.Context, ref string, force bool) (untagged, deleted []string, err error)
}

// ImageTransfer moves images into and out of the store.
type ImageTransfer interface {
	// Load stores the images of a `docker save` or OCI archive.
	Load(ctx context.Context, archive io.Reader) ([]model.Image, error)
	// Import makes an image of one layer from a tar of a root file system; changes
	// are instructions as in a Dockerfile.
	Import(ctx context.Context, rootfs io.Reader, tag string, changes []string) (model.Image, error)
	Save(ctx context.Context, refs []string, archive io.Writer) error
}

// LogEntry is one line, or piece of a long line, that a container wrote.
type LogEntry struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Text   []byte // with its newline, if the line was complete
}

// LogQuery chooses entries of a log. Zero times are no bounds; Tail below 0 is
// everything. Follow waits for more until the log is closed.
type LogQuery struct {
	Since, Until time.Time
	Tail         int
	Follow       bool
}

// LogFile is a log that is being written.
type LogFile interface {
	// Append does not keep e.Text.
	Append(e LogEntry) error
	Read(q LogQuery) (LogReader, error)
	// Close ends the log: followers read what is there and then io.EOF.
	Close() error
}

// LogReader yields entries, the oldest first, and then io.EOF.
type LogReader interface {
	Next(ctx context.Context) (LogEntry, error)
	Close() error
}

// Logs keeps containers' output.
type Logs interface {
	// Open continues the log at path; options are those of `--log-opt`.
	Open(path string, options map[string]string) (LogFile, error)
	// Read reads a log that nobody writes; one that is not there is empty.
	Read(path string, q LogQuery) (LogReader, error)
}
