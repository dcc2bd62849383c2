package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/imagestore"
)

// MountedImages shows the files of images. It implements volumes.Images.
type MountedImages struct {
	client *containerd.Client
	images *imagestore.Store
}

// Show calls look with a folder in which an image's files are, read-only, until it returns. What look has mounted
// elsewhere stays readable for as long as the image is there. Errors: NotFound for the image.
func (m *MountedImages) Show(ctx context.Context, id model.ImageID, look func(folder string) error) error {
	ctx, cancel := m.client.Call(ctx)
	defer cancel()
	image, err := m.images.ByID(ctx, id)
	if err != nil {
		return err
	}
	ctx, end, err := m.client.Lease(ctx)
	if err != nil {
		return err
	}
	return errors.Join(m.show(ctx, image, look), end(true))
}

func (m *MountedImages) show(ctx context.Context, image imagestore.Fact, look func(folder string) error) error {
	key := fmt.Sprintf("linkspan-view-%d", time.Now().UnixNano()) // the lease's: it goes with that
	view, err := m.client.Snapshots().View(ctx, key, image.Chain)
	if err != nil {
		return containerd.Faultf("mount", string(image.Image.ID), "look at the layers", err)
	}
	var failed error // kept apart: the mount's helper would put words of its own before Docker's
	err = mount.WithReadonlyTempMount(ctx, view, func(folder string) error {
		failed = look(folder)
		return nil
	})
	return errors.Join(failed, containerd.Faultf("mount", string(image.Image.ID), "mount the layers", err))
}
