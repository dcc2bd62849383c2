package buildkitd

import (
	"context"
	"maps"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// labelInstance is what the engine's runtime knows its own containers by: it ends those of
// which it has no record when it opens. So nothing of a build runs on after a crash.
const (
	labelInstance = "linkspan/instance"
	// labelBuild says that it is a build step, and whose.
	labelBuild = "linkspan/build"
)

// openSteps returns the client that makes the containers of build steps.
func openSteps(c wire.Config, opts []client.Opt) (*client.Client, error) {
	opts = append(opts, client.WithDefaultNamespace(c.Namespace))
	plain, err := client.New(c.Containerd, opts...)
	if err != nil {
		return nil, err
	}
	store := labelled{plain.ContainerService(), c.Instance}
	return client.New(c.Containerd, append(opts, client.WithServices(client.WithContainerStore(store)))...)
}

// labelled is a store of containers that are all marked as the engine's.
type labelled struct {
	containers.Store
	instance string
}

// Create implements containers.Store.
func (l labelled) Create(ctx context.Context, c containers.Container) (containers.Container, error) {
	c.Labels = maps.Clone(c.Labels)
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	c.Labels[labelInstance], c.Labels[labelBuild] = l.instance, l.instance
	return l.Store.Create(ctx, c)
}

// sweepSteps removes the containers of steps that a process before this one has left.
func sweepSteps(ctx context.Context, c *client.Client, instance string) error {
	all, err := c.Containers(ctx, `labels."`+labelBuild+`"==`+instance)
	if err != nil {
		return err
	}
	for _, one := range all {
		if err := endStep(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// endStep ends a step, and removes the pipes of its output with it: nobody reads them any more.
func endStep(ctx context.Context, c client.Container) error {
	var pipes *cio.FIFOSet
	task, err := c.Task(ctx, func(all *cio.FIFOSet) (cio.IO, error) {
		pipes = all
		return nil, nil
	})
	if err == nil {
		_, err = task.Delete(ctx, client.WithProcessKill)
	}
	if pipes != nil && err == nil {
		err = pipes.Close()
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := c.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}
