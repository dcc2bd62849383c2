// Package containers has the handlers of containers: life cycle, attach and logs.
//
// It translates between what each version of the API says of a container and what
// the hub does with it; it decides nothing.
package containers

import (
	"context"
	"io"

	"github.com/moby/moby/api/types/container"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/containers/commit"
	"github.com/linkspan/linkspan/internal/containers/stats"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Options are what the handlers pass requests on to. All are needed.
type Options struct {
	Containers Containers
	Lifecycle  Lifecycle
	Control    Control
	Archive    Archive
	Stats      Stats
	Commits    Commits
	Images     Images
	Endpoints  Endpoints
}

type api struct{ Options }

// Containers makes, shows and removes containers.
type Containers interface {
	Create(ctx context.Context, r containerhub.CreateRequest) (id string, warnings []string, err error)
	List(ctx context.Context, o containerhub.ListOptions) ([]container.Summary, error)
	Inspect(ctx context.Context, ref string) (container.InspectResponse, error)
	// Size returns the bytes that a container has written, and those of all it sees.
	Size(ctx context.Context, ref string) (written, all int64, err error)
	Remove(ctx context.Context, ref string, o containerhub.RemoveOptions) error
	// RemoveLink removes a link of the default bridge, called "container/alias".
	RemoveLink(ctx context.Context, name string) error
	Prune(ctx context.Context, f query.Filters) (container.PruneReport, error)
}

// Lifecycle starts and ends containers.
type Lifecycle interface {
	Start(ctx context.Context, ref string) error
	Stop(ctx context.Context, ref string, o containerhub.StopOptions) error
	Restart(ctx context.Context, ref string, o containerhub.StopOptions) error
	Kill(ctx context.Context, ref, signal string) error
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
	// Wait has registered when it returns; the channel yields one answer.
	Wait(ctx context.Context, ref string, condition container.WaitCondition) (<-chan container.WaitResponse, error)
}

// Control changes containers that there are, and reaches their standard streams.
type Control interface {
	Rename(ctx context.Context, ref, name string) error
	Update(ctx context.Context, ref string, c container.UpdateConfig) (container.UpdateResponse, error)
	Top(ctx context.Context, ref string, args []string) (container.TopResponse, error)
	IsTTY(ref string) (bool, error)
	Attach(ctx context.Context, ref string, o containerhub.AttachOptions, s containerhub.Streams) error
	Logs(ctx context.Context, ref string, o containerhub.LogOptions, out containerhub.Streams) error
	Resize(ctx context.Context, ref string, width, height uint) error
}

// Archive copies files into containers and out of them.
type Archive interface {
	Stat(ctx context.Context, ref, path string) (container.PathStat, error)
	// Get writes a tar archive to what begin returns, which is told first what is in it.
	Get(ctx context.Context, ref, path string, begin func(container.PathStat) (io.Writer, error)) error
	Put(ctx context.Context, ref, path string, in io.Reader, o archive.PutOptions) error
	Export(ctx context.Context, ref string, out io.Writer) error
	// Changes returns nil if there are none.
	Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error)
}

// Stats tells what containers use.
type Stats interface {
	// Read gives send one answer or, streaming, one a second.
	Read(ctx context.Context, ref string, o stats.Options, send func(container.StatsResponse) error) error
}

// Commits makes images of containers.
type Commits interface {
	Commit(ctx context.Context, r commit.Request) (model.ImageID, error)
}

// Images finds images.
type Images interface {
	Find(ctx context.Context, ref string) (model.Image, error)
}

// Endpoints finds containers' memberships in networks.
type Endpoints interface {
	Endpoint(id model.EndpointID) (model.Endpoint, bool)
}
