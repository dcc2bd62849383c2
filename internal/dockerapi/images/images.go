// Package images has the handlers of images.
//
// It translates between the API and the hub of images, and decides nothing.
package images

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	hub "github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Images shows and removes images.
type Images interface {
	Lister
	Find(ctx context.Context, ref string) (model.Image, error)
	// FindFor is Find of the variant for a platform, if that is not empty.
	FindFor(ctx context.Context, ref, platform string) (model.Image, error)
	Tag(ctx context.Context, ref, name string) error
	// Remove takes a name off an image and deletes the image with its last name.
	Remove(ctx context.Context, ref string, force bool) ([]hub.Change, error)
	Prune(ctx context.Context, f query.Filters) (done []hub.Change, reclaimed uint64, err error)
}

// Lister lists images.
type Lister interface {
	// List returns the images that meet all filters, with the names asked for.
	List(ctx context.Context, f query.Filters) ([]model.Image, error)
	// Users returns how many containers are made from an image.
	Users(id model.ImageID) int
	// Manifests returns what an image consists of.
	Manifests(ctx context.Context, ref string) ([]model.ImageManifest, error)
}

// Transfer moves images into and out of the store.
type Transfer interface {
	// Load fails if an image is for none of platforms, if there are any.
	Load(ctx context.Context, platforms []string, archive io.Reader) ([]model.Image, error)
	Import(ctx context.Context, rootfs io.Reader, tag string, changes []string) (model.Image, error)
	Save(ctx context.Context, refs, platforms []string, archive io.Writer) error
}

type api struct {
	Images   Images
	Transfer Transfer
	Mover    Mover
	log      *slog.Logger
}

// Routes returns the handlers of images.
func Routes(i Images, t Transfer, m Mover, log *slog.Logger) httpkit.Routes {
	a := &api{i, t, m, log}
	return httpkit.Routes{
		"GET /images/json":    a.listImages,
		"GET /images/get":     a.saveImages,
		"POST /images/load":   a.loadImages,
		"POST /images/create": a.makeImage,
		"POST /images/prune":  a.pruneImages,
		// Names have slashes, which a pattern cannot have in its middle.
		"GET /images/{rest...}":    a.getImage,
		"POST /images/{rest...}":   a.changeImage,
		"DELETE /images/{name...}": a.removeImage,
	}
}

// getImage answers GET /images/NAME/VERB.
func (a *api) getImage(w http.ResponseWriter, r *httpkit.Request) error {
	name, verb := httpkit.CutVerb(r.PathValue("rest"))
	switch verb {
	case "json":
		return a.inspectImage(w, r, name)
	case "history":
		return a.imageHistory(w, r, name)
	case "get":
		return a.save(w, r, []string{name})
	}
	return httpkit.ErrNoPage()
}

// changeImage answers POST /images/NAME/VERB.
func (a *api) changeImage(w http.ResponseWriter, r *httpkit.Request) error {
	name, verb := httpkit.CutVerb(r.PathValue("rest"))
	switch verb {
	case "tag":
		return a.tagImage(w, r, name)
	case "push":
		return a.pushImage(w, r, name)
	}
	return httpkit.ErrNoPage()
}

// Summary is an image in a list, with the field that 1.44 dropped.
type Summary struct {
	image.Summary
	VirtualSize int64 `json:",omitempty"`
}

func (a *api) listImages(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	if name := r.Query.Get("filter"); name != "" && r.Version < 41 {
		f["reference"] = append(f["reference"], name)
	}
	list, err := summaries(r, a.Images, f, r.Version >= 42 && r.Flag("shared-size"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

// Usage returns all images as the request's version shows them, with what each shares, and how many bytes they have together: a layer
// that several share counts once.
func Usage(r *httpkit.Request, images Lister) (list []Summary, total int64, err error) {
	all, err := images.List(r.Context(), query.Filters{})
	if err != nil {
		return nil, 0, err
	}
	shared, total := layerUsage(all)
	list, err = summarize(r, images, all, shared)
	return list, total, err
}

// summaries returns the images that meet all filters, as the request's version shows
// them, with what each shares with others if that is wanted; never nil.
func summaries(r *httpkit.Request, images Lister, f query.Filters, wantShared bool) ([]Summary, error) {
	list, err := images.List(r.Context(), f)
	if err != nil {
		return nil, err
	}
	var shared map[model.ImageID]int64
	if wantShared {
		all, err := images.List(r.Context(), query.Filters{})
		if err != nil {
			return nil, err
		}
		shared, _ = layerUsage(all)
	}
	return summarize(r, images, list, shared)
}

// summarize shows images. Of those that share nothing shared says so; nil: it is not asked.
func summarize(r *httpkit.Request, images Lister, list []model.Image, shared map[model.ImageID]int64) (_ []Summary, err error) {
	out := []Summary{}
	for _, i := range list {
		one := Summary{Summary: image.Summary{
			ID: string(i.ID), Created: i.Created.Unix(), Labels: i.Config.Labels, Size: i.Size, SharedSize: -1,
			RepoTags: append([]string{}, i.Tags...), RepoDigests: append([]string{}, i.Digests...),
			Containers: -1,
		}}
		// What has names by digest only is no image without a name, and the docker command hides those
		// that have nothing in RepoTags.
		if len(i.Tags) == 0 {
			one.RepoTags = append(one.RepoTags, i.Digests...)
		}
		if r.Version >= 51 || strings.HasPrefix(r.URL.Path, "/system/") {
			one.Containers = int64(images.Users(i.ID))
		}
		if r.Version < 44 {
			one.VirtualSize = i.Size
		}
		if shared != nil {
			one.SharedSize = shared[i.ID]
		}
		if r.Version >= 48 && i.Target.Digest != "" {
			d := descriptorOf(i.Target)
			one.Descriptor = &d
		}
		if r.Version >= 47 && r.Flag("manifests") {
			if one.Manifests, err = manifestsOf(r, images, i); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func (a *api) inspectImage(w http.ResponseWriter, r *httpkit.Request, name string) error {
	platform, err := formPlatform(r, "platform", 49)
	if err != nil {
		return err
	}
	manifests := r.Version >= 48 && r.Flag("manifests")
	if manifests && platform != "" {
		return model.Errorf(model.Invalid, "conflicting options: manifests and platform options cannot both be set")
	}
	i, err := a.Images.FindFor(r.Context(), name, platform)
	if err != nil {
		return err
	}
	answer := image.InspectResponse{
		ID: string(i.ID), RepoTags: append([]string{}, i.Tags...), RepoDigests: append([]string{}, i.Digests...),
		Comment: i.Comment, Created: i.Created.UTC().Format(time.RFC3339Nano), Author: i.Author,
		Architecture: i.Architecture, Variant: i.Variant, Os: i.OS, Size: i.Size,
		RootFS: image.RootFS{Type: "layers", Layers: i.Layers},
		Config: &dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
			User: i.Config.User, Env: i.Config.Env, Entrypoint: i.Config.Entrypoint, Cmd: i.Config.Cmd,
			WorkingDir: i.Config.WorkingDir, Labels: i.Config.Labels, StopSignal: i.Config.StopSignal,
			ExposedPorts: asSet(i.Config.ExposedPorts), Volumes: asSet(i.Config.Volumes),
		}, DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{
			Shell: i.Config.Shell, Healthcheck: healthcheckOf(i), OnBuild: i.Config.OnBuild,
		}},
	}
	if r.Version >= 48 && i.Target.Digest != "" {
		d := descriptorOf(i.Target)
		answer.Descriptor = &d
	}
	if manifests {
		if answer.Manifests, err = manifestsOf(r, a.Images, i); err != nil {
			return err
		}
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}

// healthcheckOf returns an image's health check in Docker's words.
func healthcheckOf(i model.Image) *dockerspec.HealthcheckConfig {
	h := i.Config.Healthcheck
	if h == nil {
		return nil
	}
	return &dockerspec.HealthcheckConfig{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout,
		StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
}

func asSet(list []string) map[string]struct{} {
	if len(list) == 0 {
		return nil
	}
	out := map[string]struct{}{}
	for _, one := range list {
		out[one] = struct{}{}
	}
	return out
}

func (a *api) imageHistory(w http.ResponseWriter, r *httpkit.Request, name string) error {
	platform, err := formPlatform(r, "platform", 48)
	if err != nil {
		return err
	}
	i, err := a.Images.FindFor(r.Context(), name, platform)
	if err != nil {
		return err
	}
	out, sizes := []image.HistoryResponseItem{}, i.LayerSizes
	for _, h := range i.History {
		one := image.HistoryResponseItem{ID: "<missing>", Created: h.Created.Unix(), CreatedBy: h.CreatedBy, Comment: h.Comment, Tags: []string{}}
		if !h.EmptyLayer && len(sizes) > 0 {
			one.Size, sizes = sizes[0], sizes[1:]
		}
		out = append(out, one)
	}
	slices.Reverse(out) // the newest step first
	if len(out) > 0 {
		out[0].ID, out[0].Tags = string(i.ID), append([]string{}, i.Tags...)
	}
	return httpkit.WriteJSON(w, http.StatusOK, out)
}

func (a *api) tagImage(w http.ResponseWriter, r *httpkit.Request, name string) error {
	if err := a.Images.Tag(r.Context(), name, withTag(r.Query.Get("repo"), r.Query.Get("tag"))); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusCreated)
}

// withTag joins a repository and a tag or digest.
func withTag(repo, tag string) string {
	switch {
	case tag == "":
		return repo
	case strings.Contains(tag, ":"):
		return repo + "@" + tag
	default:
		return repo + ":" + tag
	}
}
