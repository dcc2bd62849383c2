package imagestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

const (
	// documentLimit bounds an index, a manifest or a configuration, in bytes: they are
	// read into memory, and configurations are sent with every list of images. Docker
	// takes manifests of up to 4 MiB from a registry.
	documentLimit = 4 << 20
	// documentsLimit bounds how many indexes and manifests an archive's index leads to,
	// counted once for each way to them: indexes in indexes could multiply.
	documentsLimit = 4096
)

// documents reads the documents of images, and refuses one that is too long.
type documents struct{ content.Provider }

// ReaderAt implements content.Provider.
func (d documents) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := d.Provider.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	if size := ra.Size(); size > documentLimit {
		ra.Close() //nolint:errcheck // was only opened
		return nil, model.Errorf(model.Invalid, "%s, a document of an image, has %d bytes: at most %d are read", desc.Digest, size, documentLimit)
	}
	return ra, nil
}

// ingest is the content store as one load sees it. What comes in half-way is told from
// what another load, or an earlier one that failed, has begun under the same name.
type ingest struct {
	content.Store
	mark string
}

func newIngest(store content.Store) ingest {
	return ingest{store, fmt.Sprintf("load-%d-", time.Now().UnixNano())}
}

// ReaderAt implements content.Provider. Documents are bounded; layers are not, and
// those that are looked at before their type is known are not read whole.
func (i ingest) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	if desc.MediaType != "" && !images.IsLayerType(desc.MediaType) {
		return documents{i.Store}.ReaderAt(ctx, desc)
	}
	return i.Store.ReaderAt(ctx, desc)
}

// Writer implements content.Ingester.
func (i ingest) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	return i.Store.Writer(ctx, append(opts, func(o *content.WriterOpts) error {
		o.Ref = i.mark + o.Ref
		return nil
	})...)
}

// abort throws away what has come in half-way.
func (i ingest) abort(ctx context.Context) error {
	begun, err := i.ListStatuses(ctx, fmt.Sprintf("ref~=%q", "^"+i.mark))
	if err != nil {
		return containerd.Faultf("load", "", "list unfinished content", err)
	}
	var failed []error
	for _, s := range begun {
		if err := i.Abort(ctx, s.Ref); err != nil && !containerd.IsNotFound(err) {
			failed = append(failed, containerd.Faultf("load", "", "throw unfinished content away", err))
		}
	}
	return errors.Join(failed...)
}
