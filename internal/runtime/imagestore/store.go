package imagestore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/registry"
)

// Store keeps the images. Its methods may be called from any goroutine.
type Store struct {
	client     *containerd.Client
	registries *registry.Registries
	log        *slog.Logger
	facts      *factCache
	pause      time.Duration // before the second attempt at a layer
}

// New returns the images of a containerd, which come from and go to these registries.
func New(client *containerd.Client, registries *registry.Registries, log *slog.Logger) *Store {
	return &Store{client: client, registries: registries, log: log, facts: newFactCache(), pause: retryPause}
}

// List returns all stored images, the newest first.
func (s *Store) List(ctx context.Context) ([]model.Image, error) {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	all, err := s.catalog(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]model.Image, 0, len(all))
	for _, e := range all {
		out = append(out, e.view())
	}
	return out, nil
}

// Find returns the image that ref names: a name, an ID or the beginning of one.
// A name goes before an ID. Errors: NotFound with Docker's text, Invalid for a
// malformed name, Conflict for a beginning that several IDs share.
func (s *Store) Find(ctx context.Context, ref string) (model.Image, error) {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	e, err := s.lookUp(ctx, ref)
	if err != nil {
		return model.Image{}, err
	}
	return e.view(), nil
}

// ByID returns an image whose full ID is known.
func (s *Store) ByID(ctx context.Context, id model.ImageID) (Fact, error) {
	if fact, ok := s.facts.byImage(id); ok {
		return fact, nil
	}
	all, err := s.catalog(ctx)
	if err != nil {
		return Fact{}, err
	}
	for _, e := range all {
		if e.Image.ID == id {
			return e.Fact, nil
		}
	}
	return Fact{}, noSuchImage(string(id))
}

// lookUp returns the image that ref names, among all that are here; see Find.
func (s *Store) lookUp(ctx context.Context, ref string) (imageEntry, error) {
	all, err := s.catalog(ctx)
	if err != nil {
		return imageEntry{}, err
	}
	e, _, err := findImage(all, ref)
	return e, err
}

// findImage looks ref up in all. record is the name it matched, "" if it was an
// ID.
func findImage(all []imageEntry, ref string) (e imageEntry, record string, err error) {
	digits, maybeID := idPrefix(ref)
	if maybeID && len(digits) == 64 {
		return byPrefix(all, ref, digits)
	}
	if name, err := normalize(ref); err == nil {
		for _, e := range all {
			for _, rec := range e.records {
				if !isAnchor(rec.Name) && (rec.Name == name || namesTarget(rec, name)) {
					return e, rec.Name, nil
				}
			}
		}
	}
	if maybeID {
		return byPrefix(all, ref, digits)
	}
	return imageEntry{}, "", noSuchImage(ref)
}

// namesTarget tells whether name is "repository@digest" of what rec, a tag in
// the same repository, points to.
func namesTarget(rec images.Image, name string) bool {
	repo, want, ok := strings.Cut(name, "@")
	if !ok || rec.Target.Digest.String() != want {
		return false
	}
	have, _ := repository(rec.Name)
	return have == repo
}

// byPrefix finds an image by how its ID begins or, if there is none, the digest of its manifest
// or index: what was built is called by that, by clients of engines whose images have it as ID.
func byPrefix(all []imageEntry, ref, digits string) (imageEntry, string, error) {
	begins := func(d string) bool { return strings.HasPrefix(d, "sha256:"+digits) }
	var found, targets []imageEntry
	for _, e := range all {
		switch {
		case begins(string(e.Image.ID)):
			found = append(found, e)
		case slices.ContainsFunc(e.records, func(i images.Image) bool { return begins(i.Target.Digest.String()) }):
			targets = append(targets, e)
		}
	}
	if len(found) == 0 {
		found = targets
	}
	switch len(found) {
	case 0:
		return imageEntry{}, "", noSuchImage(ref)
	case 1:
		return found[0], "", nil
	}
	return imageEntry{}, "", &model.Error{Op: "image.get", Subject: ref, Kind: model.Conflict,
		Err: errors.New("ambiguous reference: several images have an ID that begins with " + digits),
		Way: "give more digits of the ID, or a name"}
}

// Tag gives the image src names a further name. A name that another image has
// moves over.
func (s *Store) Tag(ctx context.Context, src, ref string) error {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	name, err := tagTarget(ref)
	if err != nil {
		return err
	}
	e, err := s.lookUp(ctx, src)
	if err != nil {
		return err
	}
	return s.putRecord(ctx, images.Image{Name: name, Target: e.target})
}

// putRecord stores a record, in place of one of the same name.
func (s *Store) putRecord(ctx context.Context, img images.Image) error {
	store := s.client.ImageService()
	_, err := store.Create(ctx, img)
	if err != nil && containerd.KindOf(err) == model.Conflict {
		_, err = store.Update(ctx, img, "target")
	}
	return containerd.Fault("tag", img.Name, err)
}

// Remove takes away the name ref or, if that was the last or ref is an ID, the
// image itself. It returns the names taken away and the IDs deleted. An ID with
// several names is a Conflict without force. Whether a container uses the image
// is for the caller to find out first.
func (s *Store) Remove(ctx context.Context, ref string, force bool) (untagged, deleted []string, err error) {
	ctx, cancel := s.client.Call(ctx)
	defer cancel()
	all, err := s.catalog(ctx)
	if err != nil {
		return nil, nil, err
	}
	e, record, err := findImage(all, ref)
	if err != nil {
		return nil, nil, err
	}
	tags := slices.DeleteFunc(slices.Clone(e.records), func(i images.Image) bool { return isAnchor(i.Name) })
	if record != "" && len(tags) > 1 {
		err := s.client.ImageService().Delete(ctx, record)
		return []string{familiar(record)}, nil, containerd.Fault("remove", ref, err)
	}
	if len(tags) > 1 && !force && severalRepositories(tags) {
		return nil, nil, model.Errorf(model.Conflict,
			"conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories",
			model.Short(strings.TrimPrefix(string(e.Image.ID), "sha256:")))
	}
	for _, rec := range tags {
		untagged = append(untagged, familiar(rec.Name))
	}
	return untagged, []string{string(e.Image.ID)}, s.removeEntry(ctx, e)
}

func severalRepositories(tags []images.Image) bool {
	first, _ := repository(tags[0].Name)
	return slices.ContainsFunc(tags, func(i images.Image) bool {
		name, _ := repository(i.Name)
		return name != first
	})
}

// removeEntry deletes all records of an image, the anchor last, and waits for
// the content to be collected.
func (s *Store) removeEntry(ctx context.Context, e imageEntry) error {
	store := s.client.ImageService()
	records := slices.Clone(e.records)
	slices.SortStableFunc(records, func(a, b images.Image) int {
		if isAnchor(a.Name) == isAnchor(b.Name) {
			return 0
		}
		if isAnchor(a.Name) {
			return 1
		}
		return -1
	})
	for i, rec := range records {
		var opts []images.DeleteOpt
		if i == len(records)-1 {
			opts = append(opts, images.SynchronousDelete())
		}
		if err := store.Delete(ctx, rec.Name, opts...); err != nil && !containerd.IsNotFound(err) {
			return containerd.Fault("remove", rec.Name, err)
		}
		s.facts.drop(rec.Target.Digest)
	}
	return nil
}

// Save writes images as an archive that both `docker load` and OCI tools read. A
// name without a tag stands for all tags of that repository; an ID is saved
// without names. Without platforms ("linux/arm64") all that are here are saved. Errors:
// NotFound also for a platform that an image does not have here.
func (s *Store) Save(ctx context.Context, refs, wanted []string, w io.Writer) error {
	ctx = s.client.Scope(ctx)
	all, err := s.catalog(ctx)
	if err != nil {
		return err
	}
	opts := []archive.ExportOpt{archive.WithSkipMissing(s.client.ContentStore()), archive.WithAllPlatforms()}
	if len(wanted) > 0 {
		specs, err := platforms.ParseAll(wanted)
		if err != nil {
			return model.Errorf(model.Invalid, "%w", err)
		}
		if err := s.havePlatforms(ctx, all, refs, specs); err != nil {
			return err
		}
		opts[1] = archive.WithPlatform(platforms.Any(specs...))
	}
	for _, ref := range refs {
		more, err := exportOptions(all, ref)
		if err != nil {
			return err
		}
		opts = append(opts, more...)
	}
	return containerd.Fault("save", strings.Join(refs, " "), s.client.Export(ctx, w, opts...))
}

// havePlatforms fails if one of the images named lacks one of the platforms.
func (s *Store) havePlatforms(ctx context.Context, all []imageEntry, refs []string, specs []ocispec.Platform) error {
	for _, ref := range refs {
		e, _, err := findImage(all, ref)
		if err != nil {
			continue // a repository's name: what lacks the platform is left out
		}
		here, _, err := s.manifests(ctx, e.target)
		if err != nil {
			return err
		}
		for _, p := range specs {
			if !slices.ContainsFunc(here, func(m manifest) bool { return platforms.OnlyStrict(p).Match(m.platform) }) {
				return model.Errorf(model.NotFound, "no suitable export target found for platform %s", platforms.FormatAll(p))
			}
		}
	}
	return nil
}

// exportOptions selects what one argument of `docker save` names.
func exportOptions(all []imageEntry, ref string) ([]archive.ExportOpt, error) {
	if repo, only := repository(ref); only {
		var tags []images.Image
		for _, e := range all {
			for _, rec := range e.records {
				if name, _ := repository(rec.Name); name == repo && !isAnchor(rec.Name) {
					tags = append(tags, rec)
				}
			}
		}
		if len(tags) > 0 {
			return []archive.ExportOpt{archive.WithImages(tags)}, nil
		}
	}
	e, record, err := findImage(all, ref)
	if err != nil {
		return nil, err
	}
	if record == "" {
		return []archive.ExportOpt{archive.WithManifest(e.target)}, nil
	}
	return []archive.ExportOpt{archive.WithManifest(e.target, record)}, nil
}
