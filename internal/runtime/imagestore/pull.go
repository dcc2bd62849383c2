package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/registry"
)

// retryPause is how much longer each time a layer is waited for after an attempt that failed.
const retryPause = 5 * time.Second

// Pull brings the image of a tag or digest from its registry: for the platform given ("linux/arm64"),
// or, if that is empty, for this machine. The image is named once all of it is here, unpacked and
// found good; until then nothing is to be seen of it. What has come when a pull fails is kept for
// some hours for the next try. report is told how far it is, from one goroutine at a time, and
// never after Pull has returned. Errors are in Docker's words: see registry.Explain.
func (s *Store) Pull(ctx context.Context, ref, platform string, auth model.RegistryAuth, report func(model.Progress)) (model.Pulled, error) {
	named, err := pullable(ref)
	if err != nil {
		return model.Pulled{}, err
	}
	p := &pull{store: s, ref: named, settings: s.registries.Settings(), named: map[string]bool{}}
	if p.platform, p.want, err = wantedPlatform(platform); err != nil {
		return model.Pulled{}, err
	}
	p.layers = semaphore.NewWeighted(int64(max(1, p.settings.Downloads)))
	p.resolver = s.registries.Resolver(named, auth, nil)
	ctx = s.client.Scope(ctx)
	_, target, err := p.resolver.Resolve(ctx, named.String())
	if err != nil {
		return model.Pulled{}, registry.Explain(fmt.Errorf("failed to resolve reference %q: %w", named, err), named)
	}
	if err := p.checkTarget(target); err != nil {
		return model.Pulled{}, err
	}
	p.progress = newReporter(report)
	defer p.progress.close()
	leased, end, err := s.client.Resume(ctx, "pull", target.Digest.String())
	if err != nil {
		return model.Pulled{}, err
	}
	out, err := p.take(leased, target)
	return out, errors.Join(err, end(err == nil || worthless(err)))
}

// pullable reads the name of an image in a registry. A reference with both tag and digest loses
// the tag, as Docker does.
func pullable(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, &model.Error{Op: "image.reference", Subject: ref, Kind: model.Invalid, Err: err}
	}
	if reference.FamiliarName(named) == "scratch" {
		return nil, model.Errorf(model.Forbidden, "'scratch' is a reserved name")
	}
	return named, nil
}

// wantedPlatform returns the platform that an image is wanted for, this machine's if none is given.
func wantedPlatform(text string) (ocispec.Platform, platforms.MatchComparer, error) {
	if text == "" {
		return platforms.DefaultSpec(), platforms.Default(), nil
	}
	p, err := platforms.Parse(text)
	if err != nil {
		return p, nil, model.Errorf(model.Invalid, "%w", err)
	}
	return p, platforms.Only(p), nil
}

// pull is one image on its way here.
type pull struct {
	store    *Store
	ref      reference.Named
	platform ocispec.Platform
	want     platforms.MatchComparer
	settings registry.Settings
	resolver remotes.Resolver
	progress *reporter
	layers   *semaphore.Weighted // of those that come at a time

	mu    sync.Mutex
	seen  int             // documents
	named map[string]bool // layers of which it was said that they are on their way
}

// checkTarget refuses what a registry has under a name if that is no image.
func (p *pull) checkTarget(target ocispec.Descriptor) error {
	switch {
	case target.MediaType == images.MediaTypeDockerSchema1Manifest, target.MediaType == "application/vnd.docker.distribution.manifest.v1+json":
		return model.Errorf(model.Invalid, "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of %s to upgrade the image "+
			"to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/", p.ref)
	case !images.IsManifestType(target.MediaType) && !images.IsIndexType(target.MediaType):
		return &model.Error{Op: "image.pull", Subject: p.ref.String(), Kind: model.Invalid,
			Err: fmt.Errorf("unsupported media type %.80q", target.MediaType),
			Way: reference.Domain(p.ref) + " did not answer with an image: is it a registry, and is this the name of one?"}
	}
	return checkDocument(target)
}

// checkDocument refuses a document that is too long to be read into memory.
func checkDocument(desc ocispec.Descriptor) error {
	if desc.Size > documentLimit {
		return model.Errorf(model.Invalid, "%s, a document of an image, has %d bytes: at most %d are read", desc.Digest, desc.Size, documentLimit)
	}
	return nil
}

// take brings all of an image, and then names it.
func (p *pull) take(ctx context.Context, target ocispec.Descriptor) (model.Pulled, error) {
	s := p.store
	before, err := s.client.ImageService().Get(ctx, p.ref.String())
	if err != nil && !containerd.IsNotFound(err) {
		return model.Pulled{}, containerd.Faultf("pull", p.ref.String(), "look up image", err)
	}
	p.sayBegun()
	if err := p.bring(ctx, target); err != nil {
		return model.Pulled{}, p.explain(err)
	}
	s.facts.drop(target.Digest) // of an index there may be more here now
	fact, err := s.fact(ctx, target)
	if err != nil {
		return model.Pulled{}, badArchive("image.pull", err)
	}
	target.Annotations = nil
	records := []images.Image{{Name: anchorName(target.Digest), Target: target}, {Name: p.ref.String(), Target: target}}
	if err := s.putRecords(ctx, records); err != nil {
		return model.Pulled{}, err
	}
	newer := before.Target.Digest != target.Digest
	p.sayDone(target, newer)
	return model.Pulled{ID: fact.Image.ID, Name: reference.FamiliarString(p.ref), Repository: reference.FamiliarName(p.ref),
		Digest: target.Digest.String(), Newer: newer}, nil
}

// sayBegun is the first line.
func (p *pull) sayBegun() {
	tag := p.ref.String()
	if tagged, ok := p.ref.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	p.progress.say(tag, "Pulling from "+reference.Path(p.ref))
}

// sayDone are the last lines.
func (p *pull) sayDone(target ocispec.Descriptor, newer bool) {
	p.progress.say("", "Digest: "+target.Digest.String())
	if newer {
		p.progress.say("", "Status: Downloaded newer image for "+reference.FamiliarString(p.ref))
		return
	}
	p.progress.say("", "Status: Image is up to date for "+reference.FamiliarString(p.ref))
}

// bring fetches what an index, of which only the part for the platform, or a manifest leads to,
// and unpacks layers as they come.
func (p *pull) bring(ctx context.Context, target ocispec.Descriptor) error {
	s := p.store
	fetcher, err := p.resolver.Fetcher(ctx, p.ref.String())
	if err != nil {
		return err
	}
	labelSource, err := docker.AppendDistributionSourceLabel(s.client.ContentStore(), p.ref.String())
	if err != nil {
		return err
	}
	snapshotter := s.client.Snapshots()
	unpacker, err := unpack.NewUnpacker(ctx, s.client.ContentStore(), unpack.WithFetchAllContent(), unpack.WithUnpackPlatform(unpack.Platform{
		Platform: platforms.All, SnapshotterKey: s.client.Snapshotter, Snapshotter: snapshotter,
		Applier: applier{s.client.DiffService(), p.progress},
	}))
	if err != nil {
		return err
	}
	store := counted{s.client.ContentStore(), p.progress}
	children := images.ChildrenHandler(documents{store})
	children = images.SetChildrenMappedLabels(store, children, nil)
	children = images.FilterPlatforms(children, p.want)
	children = images.LimitManifests(children, p.want, 1)
	handler := unpacker.Unpack(images.Handlers(
		images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			return nil, p.fetch(ctx, store, homeFetcher{fetcher}, desc)
		}),
		p.announce(children), labelSource,
	))
	dispatched := images.Dispatch(ctx, handler, nil, target)
	result, err := unpacker.Wait()
	if dispatched != nil || err != nil {
		return firstCause(dispatched, err)
	}
	if result.Unpacks == 0 { // no layer at all, or no image
		return s.unpack(ctx, images.Image{Name: p.ref.String(), Target: target})
	}
	return nil
}

// firstCause returns of two errors the one that came first: the other only says that it was
// given up for that.
func firstCause(a, b error) error {
	if a == nil || errors.Is(a, context.Canceled) && b != nil {
		return b
	}
	return a
}

// announce says of the layers of a manifest that they are on their way. Of an image that is all
// here nothing is said.
func (p *pull) announce(children images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		found, err := children(ctx, desc)
		if err != nil || !images.IsManifestType(desc.MediaType) {
			return found, err
		}
		if len(found) == 0 || !images.IsConfigType(found[0].MediaType) {
			return nil, p.noImage(found)
		}
		missing, err := p.anyMissing(ctx, found)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, d := range found {
			if images.IsLayerType(d.MediaType) && missing && !p.named[d.Digest.String()] {
				p.named[d.Digest.String()] = true
				p.progress.layer(d.Digest, "Pulling fs layer")
			}
		}
		return found, nil
	}
}

// anyMissing tells whether some of this content is not here.
func (p *pull) anyMissing(ctx context.Context, content []ocispec.Descriptor) (bool, error) {
	for _, d := range content {
		_, err := p.store.client.ContentStore().Info(ctx, d.Digest)
		if containerd.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, containerd.Faultf("pull", p.ref.String(), "look up content", err)
		}
	}
	return false, nil
}

// noImage is what is said of a manifest of something else: a chart, say. Its children begin with
// its configuration.
func (p *pull) noImage(children []ocispec.Descriptor) error {
	kind := "none"
	if len(children) > 0 {
		kind = children[0].MediaType
	}
	return &model.Error{Op: "image.pull", Subject: p.ref.String(), Kind: model.Invalid, Err: fmt.Errorf("unsupported media type %.80q", kind),
		Way: p.ref.String() + " is no image that a container could be made from"}
}

// fetch brings one document or layer, if it is not here.
func (p *pull) fetch(ctx context.Context, store content.Store, fetcher remotes.Fetcher, desc ocispec.Descriptor) error {
	if !images.IsLayerType(desc.MediaType) {
		if err := p.countDocument(desc); err != nil {
			return err
		}
		return p.attempt(ctx, store, fetcher, desc)
	}
	if err := p.layers.Acquire(ctx, 1); err != nil {
		return err
	}
	defer p.layers.Release(1)
	return p.attempt(ctx, store, fetcher, desc)
}

// countDocument bounds the documents of an image, in number and in length.
func (p *pull) countDocument(desc ocispec.Descriptor) error {
	p.mu.Lock()
	p.seen++
	tooMany := p.seen > documentsLimit
	p.mu.Unlock()
	if tooMany {
		return model.Errorf(model.Invalid, "the image refers to more than %d documents", documentsLimit)
	}
	if images.IsManifestType(desc.MediaType) || images.IsIndexType(desc.MediaType) || images.IsConfigType(desc.MediaType) {
		return checkDocument(desc)
	}
	return nil
}

// attempt fetches one piece, more than once if the connection is at fault. What has come stays, and
// the next attempt goes on behind it.
func (p *pull) attempt(ctx context.Context, store content.Store, fetcher remotes.Fetcher, desc ocispec.Descriptor) error {
	fetch := remotes.FetchHandler(store, fetcher)
	for n := 1; ; n++ {
		_, err := fetch(ctx, desc)
		switch {
		case err == nil:
			return nil
		case spoilt(err):
			// It would be found complete, and wrong, by every attempt to come.
			_ = store.Abort(context.WithoutCancel(ctx), remotes.MakeRefKey(ctx, desc)) //nolint:errcheck // may be gone
			return err
		case n >= p.settings.Attempts || !registry.IsTransient(err) || ctx.Err() != nil:
			return err
		}
		p.store.log.Info("fetching again", "op", "image.pull", "image", p.ref.String(), "digest", desc.Digest.String(), "err", err)
		if err := p.pause(ctx, desc, time.Duration(n)*p.store.pause); err != nil {
			return err
		}
	}
}

// pause waits before the next attempt, and says so each second.
func (p *pull) pause(ctx context.Context, desc ocispec.Descriptor, wait time.Duration) error {
	for end := time.Now().Add(wait); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		seconds, plural := int(left.Round(time.Second)/time.Second), "s"
		if seconds == 1 {
			plural = ""
		}
		if images.IsLayerType(desc.MediaType) && seconds > 0 {
			p.progress.layer(desc.Digest, fmt.Sprintf("Retrying in %d second%s", seconds, plural))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, time.Second)):
		}
	}
}

// spoilt tells whether what has come is not what was promised, so that none of it is worth keeping.
func spoilt(err error) bool {
	return containerd.KindOf(err) == model.Conflict || model.KindOf(err) == model.Invalid
}

// worthless tells whether trying again with what has come cannot lead to an image.
func worthless(err error) bool {
	return spoilt(err) || containerd.SaysBadArchive(err) && !registry.IsTransient(err)
}

// explain puts what went wrong after a name was found into words.
func (p *pull) explain(err error) error {
	switch {
	case containerd.SaysNoPlatform(err):
		return model.Errorf(model.NotFound, "no matching manifest for %s in the manifest list entries: %w", platforms.FormatAll(p.platform), err)
	case model.KindOf(err) != model.Internal:
		return err
	case spoilt(err):
		return &model.Error{Op: "image.pull", Subject: p.ref.String(), Kind: model.Unfit, Err: containerd.Native(err),
			Way: "what " + reference.Domain(p.ref) + " sent is not what the image's name stands for; none of it was kept"}
	case containerd.SaysBadArchive(err) && !registry.IsTransient(err):
		return model.Errorf(model.Unfit, "failed to register layer: %s", plainly(containerd.Native(err).Error()))
	}
	return registry.Explain(err, p.ref)
}

// homeFetcher fetches from the registry alone, wherever else an image says that its layers are:
// such an address may be anybody's, this host's neighbours' too.
type homeFetcher struct{ remotes.Fetcher }

// Fetch implements remotes.Fetcher.
func (f homeFetcher) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	desc.URLs = nil
	return f.Fetcher.Fetch(ctx, desc)
}

// DropAbandoned gives up what failed pulls have left for the next try.
func (s *Store) DropAbandoned(ctx context.Context) error {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	return s.client.DropAbandoned(ctx)
}
