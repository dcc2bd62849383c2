// Package commit makes images of containers: docker commit.
//
// It promises that a container which runs goes on however the commit ends, and that one which
// does not run is not started meanwhile.
package commit

import (
	"context"
	"io"
	"strings"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Files knows what containers have changed.
type Files interface {
	// WriteLayer writes that as a layer of an image, and returns how many files it is about.
	WriteLayer(ctx context.Context, id model.ContainerID, out io.Writer) (changed int, err error)
}

// Images makes images.
type Images interface {
	// Commit makes one of a container; layer writes what it has changed.
	Commit(ctx context.Context, c model.Commit, layer func(io.Writer) (int, error)) (model.Image, error)
}

// Pauser holds containers still.
type Pauser interface {
	Pause(ctx context.Context, ref string) error
	Unpause(ctx context.Context, ref string) error
}

// Publisher is told what happened.
type Publisher interface{ Publish(e events.Message) }

// Options is what a Committer is made of. All are needed.
type Options struct {
	Find   func(ref string) (archive.Container, error)
	Files  Files
	Images Images
	Pauser Pauser
	Events Publisher
}

// Committer makes images of containers. Its methods may be called from any goroutine.
type Committer struct{ o Options }

// New returns who makes images of containers.
func New(o Options) *Committer { return &Committer{o} }

// Request asks for an image of a container.
type Request struct {
	Ref                   string
	Name, Author, Comment string // may be empty
	// Config is what the image says instead of what the container has; nil is the container's.
	Config  *container.Config
	Changes []string // instructions as in a Dockerfile
	NoPause bool     // lets the container go on meanwhile
}

// Commit makes an image of a container and returns its ID. Errors: NotFound for the
// container, Invalid for a name or an instruction.
func (c *Committer) Commit(ctx context.Context, r Request) (model.ImageID, error) {
	found, err := c.o.Find(r.Ref)
	if err != nil {
		return "", err
	}
	id := found.ID()
	if !r.NoPause && c.o.Pauser.Pause(ctx, string(id)) == nil { // what does not run, or is paused, stays so
		defer c.o.Pauser.Unpause(context.WithoutCancel(ctx), string(id)) //nolint:errcheck // it may have been stopped
	}
	_, done, err := found.View(ctx)
	if err != nil {
		return "", err
	}
	defer done()
	rec := found.Record()
	base := r.Config
	if base == nil {
		base = rec.Config
	}
	image, err := c.o.Images.Commit(ctx, model.Commit{
		Parent: rec.Image, Name: r.Name, Author: r.Author, Comment: r.Comment, CreatedBy: strings.Join(rec.Config.Cmd, " "),
		Config: containerspec.ImageConfig(base), Ran: containerspec.ImageConfig(rec.Config), Changes: r.Changes,
	}, func(out io.Writer) (int, error) { return c.o.Files.WriteLayer(ctx, id, out) })
	if err != nil {
		return "", err
	}
	c.o.Events.Publish(events.Image(dockerevents.ActionCreate, image.ID, string(image.ID)))
	name := ""
	if len(image.Tags) > 0 {
		name = image.Tags[0]
		c.o.Events.Publish(events.Image(dockerevents.ActionTag, image.ID, name))
	}
	found.Say(dockerevents.ActionCommit, "comment", r.Comment, "imageID", string(image.ID), "imageRef", name)
	return image.ID, nil
}
