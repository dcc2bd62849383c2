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
// is no image, and which.
const attestationKind, attestationOf = "vnd.docker.reference.type", "vnd.docker.reference.digest"

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

// Manifests returns what an image's index lists, or the only manifest it has, as far as it is here.
// Errors are those of Find.
func (s *Store) Manifests(ctx context.Context, ref string) ([]model.ImageManifest, error) {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	e, err := s.lookUp(ctx, ref)
	if err != nil {
		return nil, err
	}
	if e.Image.Damaged != "" {
		return nil, nil
	}
	listed := []ocispec.Descriptor{e.target}
	if images.IsIndexType(e.target.MediaType) {
		if listed, err = images.Children(ctx, documents{s.client.ContentStore()}, e.target); err != nil {
			return nil, containerd.Faultf("image", ref, "read index", err)
		}
	}
	var out []model.ImageManifest
	for _, d := range listed[:min(len(listed), documentsLimit)] {
		if !images.IsManifestType(d.MediaType) {
			continue
		}
		m, err := s.viewManifest(ctx, d)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// viewManifest looks at how much of a manifest is here.
func (s *Store) viewManifest(ctx context.Context, d ocispec.Descriptor) (model.ImageManifest, error) {
	out := model.ImageManifest{Descriptor: descriptor(d)}
	if d.Platform != nil {
		out.Platform = platformOf(*d.Platform)
	}
	if d.Annotations[attestationKind] != "" {
		out.Of = d.Annotations[attestationOf]
	}
	m, err := readManifest(ctx, documents{s.client.ContentStore()}, d)
	if errdefs.IsNotFound(err) {
		return out, nil
	}
	if err != nil {
		return out, containerd.Faultf("image", d.Digest.String(), "read manifest", err)
	}
	out.Platform, out.Available = platformOf(m.platform), true
	for _, part := range append([]ocispec.Descriptor{d, m.content.Config}, m.content.Layers...) {
		info, err := s.client.ContentStore().Info(ctx, part.Digest)
		switch {
		case err == nil:
			out.Content += info.Size
		case errdefs.IsNotFound(err):
			out.Available = false
		default:
			return out, containerd.Faultf("image", d.Digest.String(), "look up content", err)
		}
	}
	if out.Of == "" {
		if fact, err := s.factOf(ctx, d, m.content); err == nil {
			out.Unpacked = fact.Image.Size
		}
	}
	return out, nil
}

// FindFor is Find, but of an image with several platforms it returns that of one ("linux/arm64").
// Errors: NotFound also if that is not here.
func (s *Store) FindFor(ctx context.Context, ref, platform string) (model.Image, error) {
	if platform == "" {
		return s.Find(ctx, ref)
	}
	spec, err := platforms.Parse(platform)
	if err != nil {
		return model.Image{}, model.Errorf(model.Invalid, "%w", err)
	}
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	e, err := s.lookUp(ctx, ref)
	if err != nil {
		return model.Image{}, err
	}
	here, _, err := s.manifests(ctx, e.target)
	if err != nil {
		return model.Image{}, err
	}
	for _, m := range here {
		if platforms.OnlyStrict(spec).Match(m.platform) {
			fact, err := s.factOf(ctx, e.target, m.content)
			fact.Image.ID = e.Image.ID
			return imageEntry{Fact: fact, records: e.records}.view(), err
		}
	}
	return model.Image{}, model.Errorf(model.NotFound, "image with reference %s was found but does not provide the specified platform (%s)", ref, platforms.FormatAll(spec))
}
