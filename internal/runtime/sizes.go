package runtime

import (
	"context"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// LayerSizes returns the bytes on disk of a container's writable layer, which it counts
// file by file, and of its image. NotFound if the container is not made.
func (r *Runtime) LayerSizes(ctx context.Context, id model.ContainerID) (written, image int64, err error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	c, err := r.client.ContainerService().Get(ctx, string(id))
	if err != nil {
		return 0, 0, containerd.Fault("size", containerd.Describe(id), err)
	}
	own, err := r.client.Snapshots().Usage(ctx, c.SnapshotKey)
	if err != nil {
		return 0, 0, containerd.Fault("size", containerd.Describe(id), err)
	}
	fact, err := r.Images.ByID(ctx, model.ImageID(c.Image))
	if err != nil {
		return own.Size, 0, nil //nolint:nilerr // the image may be gone, by force
	}
	return own.Size, fact.Image.Size, nil
}
