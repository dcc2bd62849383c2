package imagestore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	chains "github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// factsLimit bounds how many images are remembered.
const factsLimit = 4096

// Fact is what the content of an image says: it can never change.
type Fact struct {
	Image  model.Image // without tags and digests
	Chain  string      // key of the snapshot that is all its layers
	target ocispec.Descriptor
}

// factCache remembers facts by the digest of the manifest or index.
type factCache struct {
	mu   sync.Mutex
	byID map[digest.Digest]Fact
	// damaged are those of which it was said that they cannot be read.
	damaged map[digest.Digest]bool
}

func newFactCache() *factCache {
	return &factCache{byID: map[digest.Digest]Fact{}, damaged: map[digest.Digest]bool{}}
}

// tell returns whether it is to be said that an image is damaged: once.
func (f *factCache) tell(target digest.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.damaged) >= factsLimit {
		clear(f.damaged)
	}
	told := f.damaged[target]
	f.damaged[target] = true
	return !told
}

func (f *factCache) get(target digest.Digest) (Fact, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fact, ok := f.byID[target]
	return fact, ok
}

func (f *factCache) put(target digest.Digest, fact Fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byID) >= factsLimit {
		clear(f.byID)
	}
	f.byID[target] = fact
}

func (f *factCache) drop(target digest.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byID, target)
	delete(f.damaged, target)
}

// byImage finds the fact of an image by its ID.
func (f *factCache) byImage(id model.ImageID) (Fact, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fact := range f.byID {
		if fact.Image.ID == id {
			return fact, true
		}
	}
	return Fact{}, false
}

// fact returns what the content of an image says.
func (s *Store) fact(ctx context.Context, target ocispec.Descriptor) (Fact, error) {
	if fact, ok := s.facts.get(target.Digest); ok {
		return fact, nil
	}
	manifest, err := s.manifest(ctx, target)
	if err != nil {
		return Fact{}, err
	}
	fact, err := s.factOf(ctx, target, manifest)
	// An image that is not unpacked yet has no size, which is not to be remembered.
	if err == nil && len(fact.Image.LayerSizes) == len(fact.Image.Layers) {
		s.facts.put(target.Digest, fact)
	}
	return fact, err
}

// factOf returns what one manifest of an image says.
func (s *Store) factOf(ctx context.Context, target ocispec.Descriptor, manifest ocispec.Manifest) (Fact, error) {
	raw, err := content.ReadBlob(ctx, documents{s.client.ContentStore()}, manifest.Config)
	if err != nil {
		return Fact{}, containerd.Faultf("image", target.Digest.String(), "read configuration", err)
	}
	image, diffs, err := parseConfig(raw)
	if err != nil {
		return Fact{}, err
	}
	image.ID = model.ImageID(manifest.Config.Digest)
	target.Annotations = nil // names that an archive gave; records are what names
	image.Target = descriptor(target)
	sizes, err := s.layerSizes(ctx, diffs)
	if err != nil && !containerd.IsNotFound(err) {
		return Fact{}, err
	}
	image.LayerSizes = sizes
	for _, size := range sizes {
		image.Size += size
	}
	return Fact{Image: image, Chain: chains.ChainID(diffs).String(), target: target}, nil
}

// manifest returns the manifest for this machine or, where the image has none for it here, one
// that there is.
func (s *Store) manifest(ctx context.Context, target ocispec.Descriptor) (ocispec.Manifest, error) {
	here, _, err := s.manifests(ctx, target)
	if err != nil {
		return ocispec.Manifest{}, err
	}
	if len(here) == 0 {
		return ocispec.Manifest{}, containerd.Faultf("image", target.Digest.String(), "read manifest",
			fmt.Errorf("no match for platform in manifest %v: %w", target.Digest, errdefs.ErrNotFound))
	}
	return here[0].content, nil
}

// layerSizes returns the sizes of unpacked layers, in bytes. Errors: NotFound if one is not unpacked;
// then the answer has those below it.
func (s *Store) layerSizes(ctx context.Context, diffs []digest.Digest) ([]int64, error) {
	store := s.client.Snapshots()
	var out []int64
	for i := range diffs {
		usage, err := store.Usage(ctx, chains.ChainID(diffs[:i+1]).String())
		if err != nil {
			return out, containerd.Faultf("image", "", "size of layer", err)
		}
		out = append(out, usage.Size)
	}
	return out, nil
}

// parseConfig reads an image's configuration (OCI image-spec, config.md, and
// what Docker adds to it).
func parseConfig(raw []byte) (model.Image, []digest.Digest, error) {
	var c struct {
		dockerspec.DockerOCIImage
		Comment string `json:"comment"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return model.Image{}, nil, &model.Error{Op: "image.config", Kind: model.Invalid,
			Err: fmt.Errorf("image configuration: %w", err)}
	}
	out := model.Image{
		Architecture: c.Architecture, OS: c.OS, Variant: c.Variant, Author: c.Author, Comment: c.Comment,
		Config: model.ImageConfig{
			User: c.Config.User, Env: c.Config.Env, Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd,
			WorkingDir: c.Config.WorkingDir, Labels: c.Config.Labels, StopSignal: c.Config.StopSignal,
			ExposedPorts: slices.Sorted(maps.Keys(c.Config.ExposedPorts)),
			Volumes:      slices.Sorted(maps.Keys(c.Config.Volumes)),
			Shell:        c.Config.Shell, Healthcheck: healthcheck(c.Config.Healthcheck), OnBuild: c.Config.OnBuild,
		},
	}
	if c.Created != nil {
		out.Created = *c.Created
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil {
			return model.Image{}, nil, &model.Error{Op: "image.config", Kind: model.Invalid,
				Err: fmt.Errorf("layer %q: %w", d, err)}
		}
		out.Layers = append(out.Layers, d.String())
	}
	for _, h := range c.History {
		one := model.ImageHistory{CreatedBy: h.CreatedBy, Comment: h.Comment, EmptyLayer: h.EmptyLayer}
		if h.Created != nil {
			one.Created = *h.Created
		}
		out.History = append(out.History, one)
	}
	if last := len(out.History); out.Comment == "" && last > 0 {
		out.Comment = out.History[last-1].Comment
	}
	return out, c.RootFS.DiffIDs, nil
}

// imageEntry is an image with the records that name it.
type imageEntry struct {
	Fact
	records []images.Image
}

// view returns the image as a user knows it.
func (e imageEntry) view() model.Image {
	out := e.Image
	for _, rec := range e.records {
		switch {
		case isAnchor(rec.Name):
		case hasDigest(rec.Name):
			out.Digests = append(out.Digests, familiar(rec.Name))
		default:
			out.Tags = append(out.Tags, familiar(rec.Name))
			out.Digests = append(out.Digests, withDigest(rec.Name, rec.Target.Digest))
		}
	}
	slices.Sort(out.Tags)
	slices.Sort(out.Digests)
	out.Digests = slices.Compact(out.Digests)
	return out
}

// catalog returns all images, the newest first.
func (s *Store) catalog(ctx context.Context) ([]imageEntry, error) {
	records, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, containerd.Fault("images", "", err)
	}
	byID := map[model.ImageID]*imageEntry{}
	for _, rec := range records {
		fact, err := s.fact(ctx, rec.Target)
		if err != nil {
			// One damaged image must not hide the others, nor itself: it is there to be
			// removed.
			if ctx.Err() != nil || containerd.IsGone(err) {
				return nil, err
			}
			if s.facts.tell(rec.Target.Digest) {
				s.log.Warn("unreadable image "+familiar(rec.Name)+": docker rmi "+rec.Target.Digest.String()+" removes it", "op", "runtime.images", "err", err)
			}
			fact = Fact{target: rec.Target, Image: model.Image{ID: model.ImageID(rec.Target.Digest), Damaged: err.Error()}}
		}
		entry := byID[fact.Image.ID]
		if entry == nil {
			entry = &imageEntry{Fact: fact}
			byID[fact.Image.ID] = entry
		}
		entry.records = append(entry.records, rec)
	}
	out := make([]imageEntry, 0, len(byID))
	for _, entry := range byID {
		out = append(out, *entry)
	}
	slices.SortFunc(out, func(a, b imageEntry) int {
		return cmp.Or(b.Image.Created.Compare(a.Image.Created), cmp.Compare(a.Image.ID, b.Image.ID))
	})
	return out, nil
}
