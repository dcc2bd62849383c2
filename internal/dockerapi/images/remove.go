package images

import (
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/image"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	hub "github.com/linkspan/linkspan/internal/images"
	"github.com/linkspan/linkspan/internal/model"
)

func (a *api) removeImage(w http.ResponseWriter, r *httpkit.Request) error {
	name := r.PathValue("name")
	if err := a.checkWhole(r, name); err != nil {
		return err
	}
	done, err := a.Images.Remove(r.Context(), name, r.Flag("force"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, append([]image.DeleteResponse{}, showChanges(done)...))
}

// checkWhole refuses to remove an image of which only some of the platforms that are here are to go: the rest would go
// with them.
//
//docker:partly image rm --platform: for all the platforms of an image that are here, or none; not for some of several
func (a *api) checkWhole(r *httpkit.Request, name string) error {
	texts := r.Query["platforms"]
	if len(texts) == 0 || r.Version < 50 {
		return nil
	}
	platforms, err := jsonPlatforms(texts)
	if err != nil {
		return err
	}
	for _, p := range platforms {
		if _, err := a.Images.FindFor(r.Context(), name, p); err != nil {
			return err
		}
	}
	all, err := a.Images.Manifests(r.Context(), name)
	if err != nil {
		return err
	}
	here := 0
	for _, m := range all {
		if m.Available && m.Of == "" {
			here++
		}
	}
	slices.Sort(platforms)
	if here > len(slices.Compact(platforms)) {
		return model.Errorf(model.NotImplemented, "removing some of the platforms of an image is not supported: remove %s, and pull the platforms that are to stay", name)
	}
	return nil
}

func (a *api) pruneImages(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	done, reclaimed, err := a.Images.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, image.PruneReport{ImagesDeleted: showChanges(done), SpaceReclaimed: reclaimed})
}

// showChanges translates what was removed; nil if nothing was.
func showChanges(done []hub.Change) (out []image.DeleteResponse) {
	for _, c := range done {
		out = append(out, image.DeleteResponse{Untagged: c.Untagged, Deleted: c.Deleted})
	}
	return out
}
