// Package reader tells of containers: inspect, list, top, logs, sizes. It changes none and
// waits for none, save for output that is followed; what it says is as of the moment of
// the question. How containers look is decided by package containerview.
package reader

import (
	"context"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Container is one that is told of.
type Container interface {
	ID() model.ContainerID
	Record() containerrecord.Record
	// Ended returns what is closed when the process that runs now has ended; nil if none
	// runs.
	Ended() <-chan struct{}
	// NotRunning is the refusal of what needs a process.
	NotRunning() error
	// Say publishes an event of the container.
	Say(action events.Action, pairs ...string)
}

// Containers finds them.
type Containers interface {
	// Find finds one by name, ID or the beginning of an ID.
	Find(ref string) (Container, error)
	ByID(id model.ContainerID) (Container, bool)
	// All returns every container, the newest first.
	All() []Container
}

// Engine is where networks are looked at.
type Engine interface {
	Snapshot() *state.Snapshot
	// Facts returns what somebody outside has said.
	Facts() facts.Set
}

// Control knows the processes of running containers.
type Control interface {
	// Pids returns all processes in the container, as the host numbers them.
	Pids(ctx context.Context, id model.ContainerID) ([]int, error)
}

// Execs knows the further processes in containers.
type Execs interface {
	// Unended returns the IDs of those that have not ended.
	Unended(id model.ContainerID) []string
}

// Images is the store of images.
type Images interface {
	// Find returns the image of a name, digest, ID or the beginning of an ID; not found
	// is "No such image: NAME:TAG".
	Find(ctx context.Context, ref string) (model.Image, error)
}

// Options is what a Reader is made of. All but Sizes are needed.
type Options struct {
	Containers    Containers
	Engine        Engine
	Drivers       driver.Set
	Control       Control
	Execs         Execs
	Images        Images
	Sizes         Sizes // nil leaves sizes at 0
	Logs          Logs
	Dirs          containerfiles.Dirs
	StorageDriver string // "overlayfs" if empty
}

// Reader tells of containers. Its methods may be called from any goroutine.
type Reader struct{ o Options }

// New returns a Reader.
func New(o Options) *Reader { return &Reader{o} }
