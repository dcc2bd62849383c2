package imagestore

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// attestationKind is how BuildKit marks a manifest that says something about another one, and
// is no image.
const attestationKind = "vnd.docker.reference.type"

// manifest is one of an image's manifests that is here, with its configuration.
type manifest struct {
	desc     ocispec.Descriptor
	platform ocispec.Platform
	content  ocispec.Manifest
}

// manifests returns the manifests of a target that are here and are images, this machine's first,
// and how many there are that are not here.
func (s *Store) manifests(ctx context.Context, target ocispec.Descriptor) (here []manifest, missing int, err error) {
	store, seen := documents{s.client.ContentStore()}, 0
	walk := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if seen++; seen > documentsLimit {
			return nil, model.Errorf(model.Invalid, "the image refers to more than %d documents", documentsLimit)
		}
		switch {
		case images.IsIndexType(desc.MediaType):
			return images.Children(ctx, store, desc)
		case !images.IsManifestType(desc.MediaType) || desc.Annotations[attestationKind] != "":
			return nil, nil
		}
		m, err := readManifest(ctx, store, desc)
		if errdefs.IsNotFound(err) && desc.Digest != target.Digest {
			missing++
			return nil, nil
		}
		if err == nil {
			here = append(here, m)
		}
		return nil, err
	}
	if err := images.Walk(ctx, images.HandlerFunc(walk), target); err != nil {
		return nil, 0, containerd.Faultf("image", target.Digest.String(), "read manifest", err)
	}
	host := platforms.Default()
	slices.SortStableFunc(here, func(a, b manifest) int {
		switch matchA, matchB := host.Match(a.platform), host.Match(b.platform); {
		case matchA != matchB && matchA, matchA && host.Less(a.platform, b.platform):
			return -1
		case matchA != matchB, matchA && host.Less(b.platform, a.platform):
			return 1
		}
		return 0
	})
	return here, missing, nil
}

// readManifest reads a manifest and for what platform it is, by its descriptor or else by its
// configuration, which has to be here in any case.
func readManifest(ctx context.Context, store content.Provider, desc ocispec.Descriptor) (manifest, error) {
	raw, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return manifest{}, err
	}
	out := manifest{desc: desc}
	if err := json.Unmarshal(raw, &out.content); err != nil {
		return out, model.Errorf(model.Invalid, "manifest %s: %w", desc.Digest, err)
	}
	platform, err := images.ConfigPlatform(ctx, store, out.content.Config)
	if err != nil {
		return out, err
	}
	out.platform = platforms.Normalize(platform)
	if desc.Platform != nil {
		out.platform = platforms.Normalize(*desc.Platform)
	}
	return out, nil
}
