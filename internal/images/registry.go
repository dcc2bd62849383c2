package images

import (
	"context"
	"fmt"

	"github.com/distribution/reference"
	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Transfer is a request to move images from or to a registry.
type Transfer struct {
	// Ref names an image by tag or digest, or, without both, all tags of a repository.
	Ref string
	// Platform is that of the image, "linux/arm64"; empty means what fits.
	Platform string
	Auth     model.RegistryAuth
	// Report is told how far it is, from one goroutine at a time.
	Report func(model.Progress)
}

// Pull brings images from a registry. Each is named once all of it is here. Errors are in
// Docker's words.
func (m *Manager) Pull(ctx context.Context, t Transfer) error {
	named, err := reference.ParseNormalizedNamed(t.Ref)
	if err != nil {
		return model.Errorf(model.Invalid, "%w", err)
	}
	if !reference.IsNameOnly(named) {
		return m.pull(ctx, t)
	}
	tags, err := m.registries.Tags(ctx, t.Ref, t.Auth)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		one := t
		one.Ref = t.Ref + ":" + tag
		if err := m.pull(ctx, one); err != nil {
			return fmt.Errorf("error pulling %s:%s: %w", named.Name(), tag, err)
		}
	}
	return nil
}

func (m *Manager) pull(ctx context.Context, t Transfer) error {
	got, err := m.mover.Pull(ctx, t.Ref, t.Platform, t.Auth, t.Report)
	if err != nil {
		return err
	}
	m.say(dockerevents.ActionPull, model.ImageID(got.Name), got.Repository)
	m.log.Info("image pulled", "op", "image.pull", "image", got.Name, "digest", got.Digest)
	return nil
}

// Push sends images to the registry that their name says: one tag or digest, or all tags of a
// repository that are here.
func (m *Manager) Push(ctx context.Context, t Transfer) error {
	named, err := reference.ParseNormalizedNamed(t.Ref)
	if err != nil {
		return model.Errorf(model.Invalid, "%w", err)
	}
	t.Report(model.Progress{Text: fmt.Sprintf("The push refers to repository [%s]", named.Name()), Message: true})
	refs := []string{reference.FamiliarString(named)}
	if reference.IsNameOnly(named) {
		if refs, err = m.tagsHere(ctx, reference.FamiliarName(named)); err != nil {
			return err
		}
		if len(refs) == 0 {
			return model.Errorf(model.Internal, "An image does not exist locally with the tag: %s", reference.FamiliarName(named))
		}
	}
	for _, ref := range refs {
		if err := m.mover.Push(ctx, ref, t.Platform, t.Auth, t.Report); err != nil {
			return err
		}
		m.say(dockerevents.ActionPush, model.ImageID(ref), reference.FamiliarName(named))
	}
	return nil
}

// tagsHere returns the names with a tag that images have here in a repository.
func (m *Manager) tagsHere(ctx context.Context, repository string) ([]string, error) {
	all, err := m.store.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range all {
		for _, tag := range i.Tags {
			if WithoutTag(tag) == repository {
				out = append(out, tag)
			}
		}
	}
	return out, nil
}
