package images

import (
	"context"
	"io"
	"strings"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Load stores the images of a `docker save` or OCI archive and returns them. What the archive has of other platforms comes too.
// Errors: NotFound if an image has come, but is for none of platforms ("linux/arm64"), if there are any.
func (m *Manager) Load(ctx context.Context, platforms []string, archive io.Reader) ([]model.Image, error) {
	loaded, err := m.store.Load(ctx, archive)
	if err != nil {
		return nil, err
	}
	for _, i := range loaded {
		m.say(dockerevents.ActionLoad, i.ID, string(i.ID))
	}
	return loaded, m.lacking(ctx, loaded, platforms)
}

// lacking returns an error that names the images that are for none of platforms.
func (m *Manager) lacking(ctx context.Context, loaded []model.Image, platforms []string) error {
	var lack []string
	for _, i := range loaded {
		suits := len(platforms) == 0
		for _, p := range platforms {
			_, err := m.FindFor(ctx, string(i.ID), p)
			if err != nil && model.KindOf(err) != model.NotFound {
				return err
			}
			suits = suits || err == nil
		}
		if name := string(i.ID); !suits {
			if len(i.Tags) > 0 {
				name = i.Tags[0]
			}
			lack = append(lack, name)
		}
	}
	switch len(lack) {
	case 0:
		return nil
	case 1:
		return model.Errorf(model.NotFound, "image %s was loaded, but doesn't provide the requested platform (%s)", lack[0], platforms)
	}
	return model.Errorf(model.NotFound, "images [%s] were loaded, but don't provide the requested platform (%s)", strings.Join(lack, ", "), platforms)
}

// Import makes an image of one layer from a tar of a root file system. name may be
// empty; changes are instructions as in a Dockerfile.
func (m *Manager) Import(ctx context.Context, rootfs io.Reader, name string, changes []string) (model.Image, error) {
	i, err := m.store.Import(ctx, rootfs, name, changes)
	if err != nil {
		return model.Image{}, err
	}
	m.say(dockerevents.ActionImport, i.ID, string(i.ID))
	return i, nil
}

// Save writes images into an archive. A name without a tag stands for all tags of a
// repository; without platforms, all that are here are written. What goes wrong after the first byte leaves the archive incomplete.
func (m *Manager) Save(ctx context.Context, refs, platforms []string, archive io.Writer) error {
	if len(refs) == 0 {
		return model.Errorf(model.Invalid, "no image is named")
	}
	for _, ref := range refs {
		if WithoutTag(ref) == ref {
			continue // need not be an image's
		}
		if _, err := m.store.Find(ctx, ref); err != nil {
			return err
		}
	}
	if err := m.store.Save(ctx, refs, platforms, archive); err != nil {
		return err
	}
	for _, ref := range refs {
		// A repository's name stands for all of its tags, of which one may be "latest".
		if i, err := m.store.Find(ctx, ref); err == nil {
			m.say(dockerevents.ActionSave, i.ID, ref)
		}
	}
	return nil
}
