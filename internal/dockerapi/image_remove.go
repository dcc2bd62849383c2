package dockerapi

import (
	"net/http"

	"github.com/moby/moby/api/types/image"

	"github.com/linkspan/linkspan/internal/images"
)

func (s *server) removeImage(w http.ResponseWriter, r *request) error {
	done, err := s.Images.Remove(r.Context(), r.PathValue("name"), r.flag("force"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, append([]image.DeleteResponse{}, showChanges(done)...))
}

func (s *server) pruneImages(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	done, reclaimed, err := s.Images.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, image.PruneReport{ImagesDeleted: showChanges(done), SpaceReclaimed: reclaimed})
}

// showChanges translates what was removed; nil if nothing was.
func showChanges(done []images.Change) (out []image.DeleteResponse) {
	for _, c := range done {
		out = append(out, image.DeleteResponse{Untagged: c.Untagged, Deleted: c.Deleted})
	}
	return out
}
