package images

import (
	"net/http"

	"github.com/moby/moby/api/types/image"

	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	hub "github.com/linkspan/linkspan/internal/images"
)

func (a *api) removeImage(w http.ResponseWriter, r *httpkit.Request) error {
	done, err := a.Images.Remove(r.Context(), r.PathValue("name"), r.Flag("force"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, append([]image.DeleteResponse{}, showChanges(done)...))
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
