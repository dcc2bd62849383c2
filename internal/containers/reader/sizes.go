package reader

import (
	"context"

	"github.com/linkspan/linkspan/internal/model"
)

// Sizes measures file systems.
type Sizes interface {
	// LayerSizes returns the bytes that a container has written, and those of its image;
	// NotFound for one that the runtime has not made yet.
	LayerSizes(ctx context.Context, id model.ContainerID) (written, image int64, err error)
}

// Size returns the bytes that a container has written, and those of all that it sees.
// Volumes are not counted.
func (rd *Reader) Size(ctx context.Context, ref string) (written, all int64, err error) {
	b, err := rd.o.Containers.Find(ref)
	if err != nil {
		return 0, 0, err
	}
	return rd.sizeOf(ctx, b)
}

func (rd *Reader) sizeOf(ctx context.Context, b Container) (written, all int64, err error) {
	if rd.o.Sizes == nil {
		return 0, 0, nil
	}
	written, image, err := rd.o.Sizes.LayerSizes(ctx, b.ID())
	if model.KindOf(err) == model.NotFound { // not started yet, or just removed
		i, err := rd.o.Images.Find(ctx, string(b.Record().Image))
		if err != nil {
			return 0, 0, nil //nolint:nilerr // the image is gone too
		}
		return 0, i.Size, nil
	}
	return written, written + image, err
}
