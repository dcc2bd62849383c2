package tasks

import (
	"context"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/opencontainers/go-digest"

	"github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
)

// pull is one attempt to get the newest image of a name. It goes on while a task is
// prepared again and again.
type pull struct {
	done   chan struct{} // closed when err is set
	err    error
	cancel context.CancelFunc
}

// getImage sees to it that the image is here. A registry that is away is no error while
// there is an image of the name.
func (c *controller) getImage(ctx context.Context) error {
	named, err := reference.ParseNormalizedNamed(c.want.spec.Image)
	if _, isID := digest.Parse(c.want.spec.Image); isID == nil || err != nil || c.Offline {
		return nil
	}
	if _, pinned := named.(reference.Canonical); pinned {
		if _, err := c.Images.Find(ctx, c.want.spec.Image); err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
	}
	p := c.startPull(reference.FamiliarString(reference.TagNameOnly(named)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
	}
	if p.err == nil {
		return nil
	}
	if _, err := c.Images.Find(ctx, c.want.image()); model.KindOf(err) == model.NotFound {
		return p.err
	}
	c.Logger.Info("the image is not looked for anew", "op", "task.pull", "task", c.want.task.ID, "image", c.want.image(), "err", p.err)
	return nil
}

// startPull begins to get an image, unless that has begun.
func (c *controller) startPull(ref string) *pull {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pull != nil {
		return c.pull
	}
	p := &pull{done: make(chan struct{})}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(c.closed)
	c.pull = p
	auth := model.RegistryAuth{}
	if o := c.want.task.Spec.GetContainer().PullOptions; o != nil && o.RegistryAuth != "" {
		if a, err := authconfig.Decode(o.RegistryAuth); err == nil {
			auth = model.RegistryAuth{Username: a.Username, Password: a.Password, ServerAddress: a.ServerAddress, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		} else {
			c.Logger.Warn("credentials of a task cannot be read", "op", "task.pull", "task", c.want.task.ID, "err", err)
		}
	}
	go func() {
		defer close(p.done)
		p.err = c.Images.Pull(ctx, images.Transfer{Ref: ref, Auth: auth, Report: func(model.Progress) {}})
	}()
	return p
}

func (c *controller) stopPull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pull != nil {
		c.pull.cancel()
	}
}
