package imagestore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/platforms"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	imagespecs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// Import makes an image of one layer from the tar file of a root file system, as
// `docker import` does. ref may be empty: then the image has no name. changes
// are Dockerfile instructions, of which those that set the configuration are
// allowed.
func (s *Store) Import(ctx context.Context, rootfs io.Reader, ref string, changes []string) (model.Image, error) {
	name := ""
	if ref != "" {
		var err error
		if name, err = tagTarget(ref); err != nil {
			return model.Image{}, err
		}
	}
	config, err := applyChanges(dockerspec.DockerOCIImageConfig{}, changes)
	if err != nil {
		return model.Image{}, err
	}
	var out []model.Image
	err = s.allOrNothing(s.client.Scope(ctx), func(ctx context.Context, store ingest) ([]images.Image, error) {
		layer, err := writeLayer(ctx, store, rootfs)
		if err != nil {
			return nil, err
		}
		target, err := writeImage(ctx, store, imported(layer, config), []ocispec.Descriptor{layer})
		if err != nil {
			return nil, err
		}
		records, made, err := s.made(ctx, target, name)
		out = made
		return records, err
	})
	if err != nil {
		return model.Image{}, badArchive("image.import", err)
	}
	return out[0], nil
}

// made unpacks an image that was written, and returns the records by which it is known: its
// own, and one of a name unless that is empty.
func (s *Store) made(ctx context.Context, target ocispec.Descriptor, name string) ([]images.Image, []model.Image, error) {
	records := []images.Image{{Name: anchorName(target.Digest), Target: target}}
	if name != "" {
		records = append(records, images.Image{Name: name, Target: target})
	}
	if err := s.unpack(ctx, records[0]); err != nil {
		return nil, nil, err
	}
	out, err := s.loaded(ctx, records)
	return records, out, err
}

// writeLayer stores a tar file, uncompressed, so that its digest is the layer's
// diff ID too.
func writeLayer(ctx context.Context, store ingest, rootfs io.Reader) (ocispec.Descriptor, error) {
	plain, err := compression.DecompressStream(rootfs)
	if err != nil {
		return ocispec.Descriptor{}, &model.Error{Op: "image.import", Kind: model.Invalid,
			Err: fmt.Errorf("root file system archive: %w", err)}
	}
	defer plain.Close()
	return storeLayer(ctx, store, func(w io.Writer) error {
		_, err := io.Copy(w, plain)
		return err
	})
}

// storeLayer stores the tar file that write writes.
func storeLayer(ctx context.Context, store ingest, write func(io.Writer) error) (ocispec.Descriptor, error) {
	w, err := content.OpenWriter(ctx, store, content.WithRef("import-layer"))
	if err != nil {
		return ocispec.Descriptor{}, containerd.Faultf("import", "", "write layer", err)
	}
	defer w.Close()
	out := bufio.NewWriterSize(w, 256<<10)
	if err = write(out); err == nil {
		err = out.Flush()
	}
	var done content.Status
	if err == nil {
		done, err = w.Status()
	}
	if err != nil {
		return ocispec.Descriptor{}, containerd.Faultf("import", "", "write layer", err)
	}
	sum := w.Digest()
	if err := w.Commit(ctx, done.Offset, sum); err != nil && containerd.KindOf(err) != model.Conflict {
		return ocispec.Descriptor{}, containerd.Faultf("import", "", "write layer", err)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: sum, Size: done.Offset}, nil
}

// imported is the configuration of an image of one layer.
func imported(layer ocispec.Descriptor, c dockerspec.DockerOCIImageConfig) dockerspec.DockerOCIImage {
	now := time.Now().UTC()
	host := platforms.DefaultSpec()
	return dockerspec.DockerOCIImage{
		Image: ocispec.Image{
			Created:  &now,
			Platform: ocispec.Platform{Architecture: host.Architecture, OS: host.OS, Variant: host.Variant},
			RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
			History:  []ocispec.History{{Created: &now, Comment: "Imported from -"}},
		},
		Config: c,
	}
}

// writeImage stores configuration and manifest of an image of these layers, and returns
// the manifest.
func writeImage(ctx context.Context, store ingest, c dockerspec.DockerOCIImage, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	config, err := writeJSON(ctx, store, ocispec.MediaTypeImageConfig, c, nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	// Labels are by what the collector finds what the manifest refers to.
	labels := map[string]string{"containerd.io/gc.ref.content.config": config.Digest.String()}
	for i, layer := range layers {
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = layer.Digest.String()
	}
	return writeJSON(ctx, store, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: imagespecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: layers,
	}, labels)
}

// writeJSON stores one document.
func writeJSON(ctx context.Context, store ingest, kind string, document any, labels map[string]string) (ocispec.Descriptor, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write image: %w", err)
	}
	desc := ocispec.Descriptor{MediaType: kind, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	err = content.WriteBlob(ctx, store, "import-"+desc.Digest.String(),
		bytes.NewReader(raw), desc, content.WithLabels(maps.Clone(labels)))
	return desc, containerd.Faultf("import", "", "write image", err)
}
