package imagestore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	specs "github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// errUnchanged ends the writing of a layer in which there would be nothing.
var errUnchanged = errors.New("nothing was changed")

// Commit makes an image of a container: its image with one more layer, which layer writes as a
// tar file, returning how many files are in it; none is no layer. Errors: Invalid for a name
// or an instruction, NotFound for the parent.
func (s *Store) Commit(ctx context.Context, c model.Commit, layer func(io.Writer) (int, error)) (model.Image, error) {
	ctx = s.client.Scope(ctx)
	name := ""
	if c.Name != "" {
		var err error
		if name, err = tagTarget(c.Name); err != nil {
			return model.Image{}, err
		}
	}
	config, err := applyChanges(imageConfig(c.Config), c.Changes)
	if err != nil {
		return model.Image{}, err
	}
	inherit(&config, imageConfig(c.Ran))
	parent, err := s.parent(ctx, c.Parent)
	if err != nil {
		return model.Image{}, err
	}
	var out []model.Image
	err = s.allOrNothing(ctx, func(ctx context.Context, store ingest) ([]images.Image, error) {
		added, err := storeLayer(ctx, store, func(w io.Writer) error {
			n, err := layer(w)
			if err == nil && n == 0 {
				return errUnchanged
			}
			return err
		})
		if err != nil && !errors.Is(err, errUnchanged) {
			return nil, err
		}
		image, layers := parent.with(added, c, config)
		target, err := writeImage(ctx, store, image, layers)
		if err != nil {
			return nil, err
		}
		records, made, err := s.made(ctx, target, name)
		out = made
		return records, err
	})
	if err != nil {
		return model.Image{}, containerd.Fault("commit", string(c.Parent), err)
	}
	return out[0], nil
}

// parentImage is what an image is made on top of.
type parentImage struct {
	image  dockerspec.DockerOCIImage
	layers []ocispec.Descriptor
}

// parent reads the image that another one is made of.
func (s *Store) parent(ctx context.Context, id model.ImageID) (*parentImage, error) {
	fact, err := s.ByID(ctx, id)
	if err != nil {
		return nil, err
	}
	m, err := s.manifest(ctx, fact.target)
	if err != nil {
		return nil, err
	}
	out := &parentImage{layers: slices.Clone(m.Layers)}
	raw, err := content.ReadBlob(ctx, documents{s.client.ContentStore()}, m.Config)
	if err == nil {
		err = json.Unmarshal(raw, &out.image)
	}
	return out, containerd.Faultf("commit", string(id), "read configuration", err)
}

// with returns the configuration and the layers of the image with one more, unless that is
// empty.
func (p *parentImage) with(layer ocispec.Descriptor, c model.Commit, config dockerspec.DockerOCIImageConfig) (dockerspec.DockerOCIImage, []ocispec.Descriptor) {
	now, out, layers := time.Now().UTC(), p.image, p.layers
	out.Created, out.Config = &now, config
	if c.Author != "" {
		out.Author = c.Author
	}
	out.RootFS.Type = "layers"
	if layer.Digest != "" {
		out.RootFS.DiffIDs = append(slices.Clone(out.RootFS.DiffIDs), layer.Digest)
		layers = append(slices.Clone(layers), layer)
	}
	out.History = append(slices.Clone(out.History), ocispec.History{
		Created: &now, CreatedBy: c.CreatedBy, Author: out.Author, Comment: c.Comment, EmptyLayer: layer.Digest == "",
	})
	return out, layers
}

// imageConfig writes a configuration as images have it.
func imageConfig(c model.ImageConfig) dockerspec.DockerOCIImageConfig {
	var out dockerspec.DockerOCIImageConfig
	out.User, out.Env, out.Entrypoint, out.Cmd, out.WorkingDir = c.User, c.Env, c.Entrypoint, c.Cmd, c.WorkingDir
	out.Labels, out.StopSignal, out.Shell, out.OnBuild = c.Labels, c.StopSignal, c.Shell, c.OnBuild
	out.ExposedPorts, out.Volumes = setOf(c.ExposedPorts), setOf(c.Volumes)
	if h := c.Healthcheck; h != nil {
		out.Healthcheck = &dockerspec.HealthcheckConfig{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
			StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
	}
	return out
}

func setOf(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	out := map[string]struct{}{}
	for _, name := range names {
		out[name] = struct{}{}
	}
	return out
}

// inherit puts what the container had where a configuration says nothing.
func inherit(c *dockerspec.DockerOCIImageConfig, ran dockerspec.DockerOCIImageConfig) {
	c.User, c.WorkingDir, c.StopSignal = cmp.Or(c.User, ran.User), cmp.Or(c.WorkingDir, ran.WorkingDir), cmp.Or(c.StopSignal, ran.StopSignal)
	c.ExposedPorts, c.Volumes, c.Labels = together(c.ExposedPorts, ran.ExposedPorts), together(c.Volumes, ran.Volumes), together(c.Labels, ran.Labels)
	c.Env = specs.MergeEnvironment(ran.Env, c.Env)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = ran.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = ran.Entrypoint
		}
	}
	if len(c.Shell) == 0 {
		c.Shell = ran.Shell
	}
	if c.Healthcheck == nil {
		c.Healthcheck = ran.Healthcheck
	}
}

// together returns own with what others has besides; nil if that is nothing.
func together[V any](own, others map[string]V) map[string]V {
	if len(own)+len(others) == 0 {
		return nil
	}
	out := cloned(others)
	maps.Copy(out, own)
	return out
}
