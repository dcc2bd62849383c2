package buildkitd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"

	"github.com/linkspan/linkspan/internal/buildkitd/wire"
)

// exporterMoby is the name by which Docker's clients ask for an image of the engine.
const exporterMoby = "moby"

// imageExporter makes BuildKit's exporter of images do as the engine does: an image has the
// record that keeps it when its last name goes, its names are whole, and it is unpacked.
type imageExporter struct {
	inner  exporter.Exporter
	anchor string // what begins the name of that record
	images images.Store
	made   *announcer
}

// Resolve implements exporter.Exporter.
func (e imageExporter) Resolve(ctx context.Context, id int, attrs map[string]string) (exporter.ExporterInstance, error) {
	attrs, err := imageAttributes(attrs, e.anchor)
	if err != nil {
		return nil, err
	}
	instance, err := e.inner.Resolve(ctx, id, attrs)
	if err != nil {
		return nil, err
	}
	if !isStored(attrs) {
		return instance, nil
	}
	return imageExport{instance, e}, nil
}

// isStored tells whether an image is to be one of the engine's, as BuildKit reads it.
func isStored(attrs map[string]string) bool {
	stored, err := strconv.ParseBool(attrs[string(exptypes.OptKeyStore)])
	return stored || err != nil
}

// imageAttributes returns what BuildKit's exporter is told, given what a client asked for.
// An image without a name gets that of its anchor, or it would not be stored.
func imageAttributes(asked map[string]string, anchor string) (map[string]string, error) {
	out := maps.Clone(asked)
	if out == nil {
		out = map[string]string{}
	}
	names, err := wholeNames(strings.Split(out[string(exptypes.OptKeyName)], ","))
	if err != nil {
		return nil, err
	}
	out[string(exptypes.OptKeyName)] = strings.Join(names, ",")
	if _, said := out[string(exptypes.OptKeyUnpack)]; !said {
		out[string(exptypes.OptKeyUnpack)] = "true"
	}
	out[string(exptypes.OptKeyDanglingPrefix)] = anchor
	out[string(exptypes.OptKeyDanglingEmptyOnly)] = "true"
	return out, nil
}

// wholeNames returns names as they are stored, "docker.io/library/app:latest", each once.
func wholeNames(names []string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, name := range names {
		if name == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, err
		}
		if _, ok := ref.(reference.Digested); ok {
			return nil, errors.New("build tag cannot contain a digest")
		}
		whole := reference.TagNameOnly(ref).String()
		if !seen[whole] {
			seen[whole] = true
			out = append(out, whole)
		}
	}
	return out, nil
}

// imageExport is one export, after which the image has its anchor and those who listen are
// told.
type imageExport struct {
	exporter.ExporterInstance
	of imageExporter
}

// Export implements exporter.ExporterInstance. What the image consists of is held until the
// reference is released.
func (e imageExport) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	out, finalize, ref, err := e.ExporterInstance.Export(ctx, src, info)
	if err != nil {
		return nil, nil, nil, err
	}
	target := ref.Descriptor()
	target.Annotations = nil
	_, err = e.of.images.Create(ctx, images.Image{Name: e.of.anchor + "@" + target.Digest.String(), Target: target})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, nil, nil, errors.Join(fmt.Errorf("keep the image: %w", err), ref.Release())
	}
	e.of.made.announce(madeImage(out))
	return out, finalize, ref, nil
}

// madeImage reads who an image is from the exporter's answer.
func madeImage(response map[string]string) wire.Image {
	out := wire.Image{ID: imageID(response)}
	for _, name := range strings.Split(response[exptypes.ExporterImageNameKey], ",") {
		if name != "" && !strings.Contains(name, "@") {
			out.Names = append(out.Names, name)
		}
	}
	return out
}

// imageID is what the engine calls an image by: the digest of its configuration. One for
// several platforms has none of its own.
func imageID(response map[string]string) string {
	return cmp.Or(response[exptypes.ExporterImageConfigDigestKey], response[exptypes.ExporterImageDigestKey])
}
