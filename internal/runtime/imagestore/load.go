package imagestore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// Load reads an archive of `docker save` or an OCI layout in a tar file,
// compressed or not, and unpacks its images. The result's Tags are only the
// names that the archive gave. An image gets its names once it is whole, and all
// of an archive or nothing is taken.
func (s *Store) Load(ctx context.Context, stream io.Reader) (loaded []model.Image, err error) {
	ctx = s.client.Scope(ctx)
	plain, err := compression.DecompressStream(stream)
	if err != nil {
		return nil, &model.Error{Op: "image.load", Kind: model.Invalid, Err: fmt.Errorf("image archive: %w", err)}
	}
	defer plain.Close()
	err = s.allOrNothing(ctx, func(ctx context.Context, store ingest) ([]images.Image, error) {
		index, err := archive.ImportIndex(ctx, store, plain)
		if err != nil {
			return nil, err
		}
		records, err := s.archived(ctx, index)
		if err != nil {
			return nil, err
		}
		for _, rec := range records {
			if !isAnchor(rec.Name) {
				continue
			}
			if err := s.unpack(ctx, rec); err != nil {
				return nil, err
			}
		}
		loaded, err = s.loaded(ctx, records)
		return records, err
	})
	if err != nil {
		return nil, badArchive("image.load", err)
	}
	return loaded, nil
}

// badArchive is what is said of an archive that cannot be taken in.
func badArchive(op string, err error) error {
	kind := badArchiveKind(err)
	if containerd.KindOf(err) == model.NotFound {
		return &model.Error{Op: op, Kind: kind, Err: errors.New(containerd.Native(err).Error())}
	}
	return &model.Error{Op: op, Kind: kind, Err: containerd.Native(err)}
}

// badArchiveKind is the kind of an error with an archive: it is the client's fault, unless
// containerd or the disk is to blame. NotFound would make the docker command look for
// an image.
func badArchiveKind(err error) model.Kind {
	kind := containerd.KindOf(err)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	if kind == model.NotFound || kind == model.Internal && (errors.As(err, &syntax) || errors.As(err, &mismatch) || containerd.SaysBadArchive(err)) {
		return model.Invalid
	}
	return kind
}

// allOrNothing has content taken in by take and then stores the records that it returns.
// If anything fails, neither content nor snapshots nor names stay.
func (s *Store) allOrNothing(ctx context.Context, take func(context.Context, ingest) ([]images.Image, error)) error {
	ctx, end, err := s.client.Lease(ctx)
	if err != nil {
		return err
	}
	store := newIngest(s.client.ContentStore())
	records, err := take(ctx, store)
	if err == nil {
		err = s.putRecords(ctx, records)
	}
	if err != nil {
		err = errors.Join(err, store.abort(context.WithoutCancel(ctx)))
	}
	return errors.Join(err, end(err == nil))
}

// putRecords stores records of which all content is there. If one cannot be stored,
// those before it are as they were.
func (s *Store) putRecords(ctx context.Context, records []images.Image) error {
	store := s.client.ImageService()
	var undo []func(context.Context) error
	for _, rec := range records {
		before, err := store.Get(ctx, rec.Name)
		switch {
		case err == nil:
			undo = append(undo, func(ctx context.Context) error { return s.putRecord(ctx, before) })
		case containerd.IsNotFound(err):
			undo = append(undo, func(ctx context.Context) error { return store.Delete(ctx, rec.Name) })
		}
		if err == nil || containerd.IsNotFound(err) {
			err = s.putRecord(ctx, rec)
		}
		if err != nil {
			failed := []error{containerd.Fault("tag", familiar(rec.Name), err)}
			ctx, cancel := s.client.Call(context.WithoutCancel(ctx))
			defer cancel()
			for i := len(undo) - 1; i >= 0; i-- {
				if err := undo[i](ctx); err != nil && !containerd.IsNotFound(err) {
					failed = append(failed, containerd.Fault("tag", "", err))
				}
			}
			return errors.Join(failed...)
		}
	}
	return nil
}

// archived returns the records for the images of an archive's index, and sees to it
// that what they refer to is kept as long as they are. Content of all platforms is, and
// what the archive left out is not asked for. Documents of absurd sizes are refused.
func (s *Store) archived(ctx context.Context, index ocispec.Descriptor) ([]images.Image, error) {
	documents := documents{s.client.ContentStore()}
	raw, err := content.ReadBlob(ctx, documents, index)
	if err != nil {
		return nil, err
	}
	var list ocispec.Index
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, model.Errorf(model.Invalid, "index of images: %w", err)
	}
	var records []images.Image
	for _, m := range list.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return nil, model.Errorf(model.Invalid, "index of images: %w", err)
		}
		records = append(records, named(m)...)
	}
	seen := 0
	walk := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if desc.Digest == index.Digest {
			return list.Manifests, nil
		}
		if images.IsManifestType(desc.MediaType) || images.IsIndexType(desc.MediaType) {
			if seen++; seen > documentsLimit {
				return nil, model.Errorf(model.Invalid, "the images refer to more than %d documents", documentsLimit)
			}
		}
		children, err := images.Children(ctx, documents, desc)
		if containerd.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return children, err
	}
	handler := images.SetChildrenLabels(s.client.ContentStore(), images.HandlerFunc(walk))
	return records, images.WalkNotEmpty(ctx, handler, index)
}

// named returns the records of one image of an archive: by its name, if it has one,
// and by its anchor.
func named(m ocispec.Descriptor) []images.Image {
	name := m.Annotations[images.AnnotationImageName]
	if name == "" {
		name = layoutName(m.Annotations[ocispec.AnnotationRefName])
	}
	var out []images.Image
	if name != "" && !isAnchor(name) {
		out = append(out, images.Image{Name: name, Target: m})
	}
	if _, refers := m.Annotations[images.AnnotationManifestSubject]; refers {
		return out
	}
	return append(out, images.Image{Name: anchorName(m.Digest), Target: m})
}

// unpack makes snapshots of an image's layers, once its documents are found good. An
// image for another platform is unpacked too: it may run under emulation, and Docker
// loads it.
func (s *Store) unpack(ctx context.Context, rec images.Image) error {
	if _, err := s.fact(ctx, rec.Target); err != nil {
		return err
	}
	here, _, err := s.manifests(ctx, rec.Target)
	if err != nil {
		return err
	}
	rec.Target = here[0].desc // there is one, or there were no fact
	err = client.NewImageWithPlatform(s.client.Client, rec, platforms.All).Unpack(ctx, s.client.Snapshotter)
	if err == nil {
		return nil
	}
	return &model.Error{Op: "runtime.unpack", Subject: familiar(rec.Name), Kind: badArchiveKind(err), Err: errors.New("unpack image: " + plainly(containerd.Native(err).Error()))}
}

// plainly leaves out of an error at unpacking the paths and names that are containerd's
// and ours.
func plainly(text string) string {
	if _, after, found := strings.Cut(text, "mount callback failed on "); found {
		if _, rest, found := strings.Cut(after, ": "); found {
			return rest
		}
	}
	if _, after, found := strings.Cut(text, "apply layer error for "); found {
		if _, rest, found := strings.Cut(after, ": "); found {
			return rest
		}
	}
	return text
}

// loaded groups fresh records by image, in the order of the archive.
func (s *Store) loaded(ctx context.Context, records []images.Image) ([]model.Image, error) {
	var out []imageEntry
	at := map[model.ImageID]int{}
	for _, rec := range records {
		fact, err := s.fact(ctx, rec.Target)
		if err != nil {
			return nil, err
		}
		i, ok := at[fact.Image.ID]
		if !ok {
			i = len(out)
			at[fact.Image.ID] = i
			out = append(out, imageEntry{Fact: fact})
		}
		out[i].records = append(out[i].records, rec)
	}
	views := make([]model.Image, 0, len(out))
	for _, e := range out {
		views = append(views, e.view())
	}
	return views, nil
}
