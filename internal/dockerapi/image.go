package dockerapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/image"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// noPull is said where Docker would go to a registry. The docker command shows it
// when `docker run` names an image that is not there.
const noPull = `pulling images is not supported yet: load one with "docker load" or "docker import"`

func (s *server) imageRoutes() []route {
	return []route{
		{"GET /images/json", s.listImages},
		{"GET /images/get", s.saveImages},
		{"GET /images/search", unsupported("searching registries is not supported yet")},
		{"POST /images/load", s.loadImages},
		{"POST /images/create", s.makeImage},
		{"POST /images/prune", s.pruneImages},
		// Names have slashes, which a pattern cannot have in its middle.
		{"GET /images/{rest...}", s.getImage},
		{"POST /images/{rest...}", s.changeImage},
		{"DELETE /images/{name...}", s.removeImage},
	}
}

// getImage answers GET /images/NAME/VERB.
func (s *server) getImage(w http.ResponseWriter, r *request) error {
	name, verb := cutVerb(r.PathValue("rest"))
	switch verb {
	case "json":
		return s.inspectImage(w, r, name)
	case "history":
		return s.imageHistory(w, r, name)
	case "get":
		return s.save(w, r, []string{name})
	}
	return errNoPage()
}

// changeImage answers POST /images/NAME/VERB.
func (s *server) changeImage(w http.ResponseWriter, r *request) error {
	name, verb := cutVerb(r.PathValue("rest"))
	switch verb {
	case "tag":
		return s.tagImage(w, r, name)
	case "push":
		return model.Errorf(model.NotImplemented, "pushing images is not supported yet")
	}
	return errNoPage()
}

func cutVerb(rest string) (name, verb string) {
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return "", rest
	}
	return rest[:i], rest[i+1:]
}

// legacyImageSummary has the field that 1.44 dropped.
type legacyImageSummary struct {
	image.Summary
	VirtualSize int64 `json:",omitempty"`
}

func (s *server) listImages(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	if name := r.query.Get("filter"); name != "" && r.version < 41 {
		f["reference"] = append(f["reference"], name)
	}
	list, err := s.summaries(r, f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// summaries returns the images that meet all filters.
func (s *server) summaries(r *request, f query.Filters) ([]legacyImageSummary, error) {
	list, err := s.Images.List(r.Context(), f)
	if err != nil {
		return nil, err
	}
	out := []legacyImageSummary{}
	for _, i := range list {
		one := legacyImageSummary{Summary: image.Summary{
			ID: string(i.ID), Created: i.Created.Unix(), Labels: i.Config.Labels, Size: i.Size, SharedSize: -1,
			RepoTags: append([]string{}, i.Tags...), RepoDigests: append([]string{}, i.Digests...),
			Containers: -1,
		}}
		if r.version >= 51 || strings.HasPrefix(r.URL.Path, "/system/") {
			one.Containers = int64(s.Images.Users(i.ID))
		}
		if r.version < 44 {
			one.VirtualSize = i.Size
		}
		out = append(out, one)
	}
	return out, nil
}

func (s *server) inspectImage(w http.ResponseWriter, r *request, name string) error {
	i, err := s.Images.Find(r.Context(), name)
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
			Shell: i.Config.Shell, Healthcheck: healthcheckOf(i),
		}},
	}
	return writeJSON(w, http.StatusOK, answer)
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

func (s *server) imageHistory(w http.ResponseWriter, r *request, name string) error {
	i, err := s.Images.Find(r.Context(), name)
	if err != nil {
		return err
	}
	out := []image.HistoryResponseItem{}
	for _, h := range slices.Backward(i.History) { // the newest step first
		out = append(out, image.HistoryResponseItem{
			ID: "<missing>", Created: h.Created.Unix(), CreatedBy: h.CreatedBy, Comment: h.Comment, Tags: []string{},
		})
	}
	if len(out) > 0 {
		out[0].ID, out[0].Tags, out[0].Size = string(i.ID), append([]string{}, i.Tags...), i.Size
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *server) tagImage(w http.ResponseWriter, r *request, name string) error {
	if err := s.Images.Tag(r.Context(), name, withTag(r.query.Get("repo"), r.query.Get("tag"))); err != nil {
		return err
	}
	return empty(w, http.StatusCreated)
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
