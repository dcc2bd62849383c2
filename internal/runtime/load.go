package runtime

import (
	"context"
	"fmt"
	"io"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/platforms"
	digest "github.com/opencontainers/go-digest"

	"github.com/linkspan/linkspan/internal/model"
)

// Load reads an archive of `docker save` or an OCI layout in a tar file,
// compressed or not, and unpacks its images. The result's Tags are only the
// names that the archive gave.
func (r *Runtime) Load(ctx context.Context, archive io.Reader) ([]model.Image, error) {
	ctx = r.scope(ctx)
	plain, err := compression.DecompressStream(archive)
	if err != nil {
		return nil, &model.Error{Op: "image.load", Kind: model.Invalid, Err: fmt.Errorf("image archive: %w", err)}
	}
	defer plain.Close()
	records, err := r.client.Import(ctx, plain,
		containerd.WithImageRefTranslator(layoutName),
		containerd.WithDigestRef(func(d digest.Digest) string { return keeperName(d) }),
		// Content of all platforms is kept alive, and what the archive left out is
		// not asked for.
		containerd.WithAllPlatforms(true), containerd.WithSkipMissing())
	if err != nil {
		return nil, &model.Error{Op: "image.load", Kind: kindOf(err), Err: native(err)}
	}
	for _, rec := range records {
		if !isKeeper(rec.Name) {
			continue
		}
		if err := r.unpack(ctx, rec); err != nil {
			return nil, err
		}
	}
	return r.loaded(ctx, records)
}

// unpack makes snapshots of an image's layers. An image for another platform is
// unpacked too: it may run under emulation, and Docker loads it.
func (r *Runtime) unpack(ctx context.Context, rec images.Image) error {
	matcher := platforms.Default()
	if _, err := images.Manifest(ctx, r.client.ContentStore(), rec.Target, matcher); isNotFound(err) {
		matcher = platforms.All
	}
	err := containerd.NewImageWithPlatform(r.client, rec, matcher).Unpack(ctx, r.snapshotter)
	return faultf("unpack", familiar(rec.Name), "unpack image", err)
}

// loaded groups fresh records by image, in the order of the archive.
func (r *Runtime) loaded(ctx context.Context, records []images.Image) ([]model.Image, error) {
	var out []imageEntry
	at := map[model.ImageID]int{}
	for _, rec := range records {
		fact, err := r.fact(ctx, rec.Target)
		if err != nil {
			return nil, err
		}
		i, ok := at[fact.image.ID]
		if !ok {
			i = len(out)
			at[fact.image.ID] = i
			out = append(out, imageEntry{imageFact: fact})
		}
		out[i].records = append(out[i].records, rec)
	}
	views := make([]model.Image, 0, len(out))
	for _, e := range out {
		views = append(views, e.view())
	}
	return views, nil
}
