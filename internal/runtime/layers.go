package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/images"
)

// spareKey is an empty snapshot that is there to be removed; see freeLayers.
const spareKey = "linkspan-spare"

// prepareLayer makes the writable layer of a container on its image's init layer, and
// that first if it is not there.
func (r *Runtime) prepareLayer(ctx context.Context, id model.ContainerID, image images.Fact) ([]mount.Mount, error) {
	out, err := r.prepareSnapshot(ctx, id, initLayerOf(image))
	if model.KindOf(err) != model.NotFound {
		return out, err
	}
	if err := r.makeInitLayer(ctx, image); err != nil {
		return nil, err
	}
	return r.prepareSnapshot(ctx, id, initLayerOf(image))
}

// prepareSnapshot makes the writable layer. The label makes it a root of the
// garbage collector by itself; a lease for the time until the container refers
// to it would cost two more commits.
func (r *Runtime) prepareSnapshot(ctx context.Context, id model.ContainerID, parent string) ([]mount.Mount, error) {
	out, err := r.prepare(ctx, string(id), parent, snapshots.WithLabels(map[string]string{
		labelContainer: string(id),
		labelRoot:      time.Now().UTC().Format(time.RFC3339),
	}))
	return out, containerd.Faultf("create", containerd.Describe(id), "prepare snapshot", err)
}

// prepare makes a layer that can be written, after having removed what is in its way.
func (r *Runtime) prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	store := r.client.Snapshots()
	out, err := store.Prepare(ctx, key, parent, opts...)
	if containerd.SaysLayerExists(err) {
		r.log.Warn("removing a layer that containerd has forgotten", "op", "runtime.layers", "layer", key, "err", err)
		if freed := r.freeLayers(ctx); freed != nil {
			return nil, errors.Join(err, freed)
		}
		out, err = store.Prepare(ctx, key, parent, opts...)
	}
	return out, err
}

// freeLayers has containerd remove the folders of layers that it does not know. A
// containerd that was killed between making a layer's folder and recording it
// stumbles over the folder at every new layer ("failed to rename … file exists"):
// it counts the layers in the same record. Its garbage collector removes such
// folders, but looks for them only after a snapshot was removed, so that one is
// kept for the purpose.
func (r *Runtime) freeLayers(ctx context.Context) error {
	r.layers.Lock()
	defer r.layers.Unlock()
	if err := r.removeSnapshot(ctx, spareKey); err != nil {
		return err
	}
	lease, err := r.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return containerd.Faultf("create", "", "make a lease", err)
	}
	// The garbage collector runs before this returns.
	if err := r.client.LeasesService().Delete(ctx, lease, leases.SynchronousDelete); err != nil {
		return containerd.Faultf("create", "", "collect garbage", err)
	}
	return r.keepSpare(ctx)
}

// keepSpare makes the spare snapshot unless it is there.
func (r *Runtime) keepSpare(ctx context.Context) error {
	store := r.client.Snapshots()
	if _, err := store.Stat(ctx, spareKey); !containerd.IsNotFound(err) {
		return containerd.Faultf("open", "", "look for the spare snapshot", err)
	}
	_, err := store.View(ctx, spareKey, "", snapshots.WithLabels(map[string]string{
		labelRoot: time.Now().UTC().Format(time.RFC3339),
	}))
	return containerd.Faultf("open", "", "make the spare snapshot", err)
}
