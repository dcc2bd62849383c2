// Package files reads and writes files of containers: docker cp, export and diff.
//
// It promises that nothing which a container or an archive contains, and nothing that a
// container does meanwhile, leads outside the container's own tree: all of it happens on a
// thread whose root is the container's, in a mount namespace of its own (view.go). There the
// host has no path at all. Device nodes cannot be opened in it, and whoever asks gets an
// answer when his patience ends, whatever a file system of the container does.
//
// Mounts made for a look go with the thread: a daemon that is killed leaves none.
package files

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// letGo is how long work in a container may go on after its client went away, before it is
// left to itself: the container may have mounted a file system that does not answer.
const letGo = 5 * time.Second

// Store reaches the files of all containers. Its methods may be called from any goroutine.
type Store struct {
	client *containerd.Client
	place  string // a folder in which a view is put together, in its own namespace
	log    *slog.Logger
}

// New returns the files of the containers of a containerd. place is a folder that exists;
// nothing of it is changed.
func New(client *containerd.Client, place string, log *slog.Logger) *Store {
	return &Store{client: client, place: place, log: log}
}

// within runs do where the container's files are, and returns its error.
func (s *Store) within(ctx context.Context, v model.FileView, do func() error) error {
	enter, err := s.enter(ctx, v)
	if err != nil {
		return err
	}
	return s.run(ctx, v.ID, enter, do)
}

// entrance leads the calling thread into a view of files, and is closed once it did.
type entrance interface {
	enter() error
	close()
}

// run runs do on a thread that went through e.
func (s *Store) run(ctx context.Context, id model.ContainerID, e entrance, do func() error) error {
	done := onThread(func() error {
		defer e.close()
		if err := e.enter(); err != nil {
			return fmt.Errorf("open the files of %s: %w", containerd.Describe(id), err)
		}
		return do()
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	patience := time.NewTimer(letGo)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		s.log.Warn("a file of the container does not answer", "container", model.Short(id), "op", "container.files", "err", context.Cause(ctx))
		return context.Cause(ctx)
	}
}
