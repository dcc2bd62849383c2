package imagestore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/registry"
)

// Push sends an image to the registry that its name says: one tag or digest, with its whole index
// or, if that is not here or platform is given, with the manifest of one platform. Layers that the
// registry has are not sent again. report is told how far it is, as by Pull. Errors: NotFound for a
// name that is not here; otherwise in Docker's words, see registry.Explain.
func (s *Store) Push(ctx context.Context, ref, platform string, auth model.RegistryAuth, report func(model.Progress)) error {
	named, err := pullable(ref)
	if err != nil {
		return err
	}
	ctx = s.client.Scope(ctx)
	img, err := s.client.ImageService().Get(ctx, named.String())
	if containerd.IsNotFound(err) {
		return model.Errorf(model.NotFound, "tag does not exist: %s", reference.FamiliarString(named))
	}
	if err != nil {
		return containerd.Faultf("push", named.String(), "look up image", err)
	}
	ctx, end, err := s.client.Lease(ctx)
	if err != nil {
		return err
	}
	p := &push{store: s, ref: named, tracker: docker.NewInMemoryTracker(), target: img.Target, layers: map[digest.Digest]ocispec.Descriptor{}}
	if platform != "" {
		if p.target, err = p.manifestFor(ctx, img.Target, platform); err != nil {
			return errors.Join(err, end(true))
		}
	}
	p.progress = newReporter(report)
	p.resolver = s.registries.Resolver(named, auth, p.tracker)
	err = p.send(ctx)
	if missing := errdefs.IsNotFound(err) && images.IsIndexType(p.target.MediaType) && platform == ""; missing {
		err = p.sendPart(ctx, err)
	}
	return errors.Join(p.end(ctx, err), end(true))
}

// push is one image on its way to a registry.
type push struct {
	store    *Store
	ref      reference.Named
	target   ocispec.Descriptor
	resolver remotes.Resolver
	tracker  docker.StatusTracker
	progress *reporter

	mu     sync.Mutex
	layers map[digest.Digest]ocispec.Descriptor // of which it is told how far they are
}

// end tells the last of a push.
func (p *push) end(ctx context.Context, err error) error {
	if err == nil {
		if tagged, ok := p.ref.(reference.Tagged); ok {
			p.progress.say("", fmt.Sprintf("%s: digest: %s size: %d", tagged.Tag(), p.target.Digest, p.target.Size))
		}
		p.labelSources(ctx)
	}
	p.progress.close()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return model.Errorf(model.Forbidden, "push access denied for %s, repository does not exist or may require authorization: %w", reference.FamiliarName(p.ref), err)
	}
	return registry.Explain(err, p.ref)
}

// labelSources notes where the image's content is now too, so that another repository of that
// registry can take it from there. That it cannot be noted only costs time later.
func (p *push) labelSources(ctx context.Context) {
	store := p.store.client.ContentStore()
	label, err := docker.AppendDistributionSourceLabel(store, p.ref.String())
	if err == nil {
		err = images.Dispatch(ctx, images.Handlers(label, skipMissing(images.ChildrenHandler(documents{store}))), nil, p.target)
	}
	if err != nil {
		p.store.log.Debug("sources not noted", "op", "image.push", "image", p.ref.String(), "err", err)
	}
}

// skipMissing passes over what is not here.
func skipMissing(h images.HandlerFunc) images.HandlerFunc {
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := h(ctx, desc)
		if errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return children, err
	}
}

// send pushes all that the target leads to, and then the target.
func (p *push) send(ctx context.Context) error {
	ref := p.ref
	if _, digested := ref.(reference.Digested); !digested {
		var err error // the pusher then sets the tag for this one document only
		if ref, err = reference.WithDigest(ref, p.target.Digest); err != nil {
			return err
		}
	}
	pusher, err := p.resolver.Pusher(ctx, ref.String())
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { p.watch(watching) })
	limiter := semaphore.NewWeighted(int64(max(1, p.store.registries.Settings().Uploads)))
	err = remotes.PushContent(ctx, pusher, p.target, p.store.client.ContentStore(), limiter, platforms.All, func(h images.Handler) images.Handler {
		return images.Handlers(images.HandlerFunc(p.noteLayer), h)
	})
	stop()
	watch.Wait()
	return err
}

// noteLayer has it told how far a layer is.
func (p *push) noteLayer(_ context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if !images.IsLayerType(desc.MediaType) {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.layers[desc.Digest]; !ok {
		p.layers[desc.Digest] = desc
		p.progress.layer(desc.Digest, "Waiting")
	}
	return nil, nil
}

// watch tells how far the layers are until ctx is done, and then once more.
func (p *push) watch(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.look(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			p.look(ctx)
		}
	}
}

func (p *push) look(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d, desc := range p.layers {
		status, err := p.tracker.GetStatus(remotes.MakeRefKey(ctx, desc))
		switch {
		case err != nil || status.Total > 0 && status.Offset == 0 && !status.Committed:
			continue // is still waiting
		case !status.Committed || status.Offset < status.Total:
			p.progress.add(model.Progress{ID: layerID(d), Text: "Pushing", Current: status.Offset, Total: status.Total})
			continue
		case status.MountedFrom != "":
			p.progress.layer(d, "Mounted from "+mountedFrom(status.MountedFrom))
		case status.Exists:
			p.progress.layer(d, "Layer already exists")
		default:
			p.progress.layer(d, "Pushed")
		}
		delete(p.layers, d)
	}
}

func mountedFrom(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return reference.Path(ref)
	}
	return name
}

// sendPart pushes the one manifest of an index that is here, since the rest of the index is not.
func (p *push) sendPart(ctx context.Context, cause error) error {
	whole := p.target
	part, err := p.manifestFor(ctx, whole, "")
	if err != nil {
		return err
	}
	if part.Digest == whole.Digest {
		return cause
	}
	p.target = part
	if err := p.send(ctx); err != nil {
		return err
	}
	p.progress.add(model.Progress{Replaced: &model.ReplacedIndex{Index: descriptor(whole), Manifest: descriptor(part)}})
	return nil
}

// manifestFor returns the manifest of a platform that is here, or, without a platform, the one
// there is, or this machine's. Errors: NotFound, Conflict if several would do.
func (p *push) manifestFor(ctx context.Context, target ocispec.Descriptor, platform string) (ocispec.Descriptor, error) {
	spec, want, err := wantedPlatform(platform)
	if err != nil {
		return target, err
	}
	if platform != "" {
		want = platforms.OnlyStrict(spec)
	}
	here, missing, err := p.store.manifests(ctx, target)
	if err != nil {
		return target, err
	}
	var found []manifest
	for _, m := range here {
		if platform == "" && len(here) == 1 || want.Match(m.platform) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		return target, model.Errorf(model.NotFound, "image with reference %s was found but does not provide the specified platform (%s)",
			reference.FamiliarString(p.ref), platforms.FormatAll(spec))
	case platform == "" && missing == 0:
		return target, nil
	}
	return found[0].desc, nil
}

// descriptor translates a descriptor.
func descriptor(d ocispec.Descriptor) model.Descriptor {
	out := model.Descriptor{MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size, Annotations: d.Annotations, ArtifactType: d.ArtifactType}
	if d.Platform != nil {
		p := platformOf(*d.Platform)
		out.Platform = &p
	}
	return out
}

func platformOf(p ocispec.Platform) model.Platform {
	return model.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}
