package dockerapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"

	"github.com/linkspan/linkspan/internal/model"
)

func (s *server) removeImage(w http.ResponseWriter, r *request) error {
	name := r.PathValue("name")
	if strings.TrimSpace(name) == "" {
		return model.Errorf(model.Invalid, "image name cannot be blank")
	}
	i, err := s.Images.Image(r.Context(), name)
	if err != nil {
		return err
	}
	force := r.flag("force")
	if err := inUse(name, i, s.Usage.ImageUsers(i.ID), force); err != nil {
		return err
	}
	answer, err := s.remove(r, name, i.ID, force)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// remove takes a name or an image away and says so.
func (s *server) remove(r *request, ref string, id model.ImageID, force bool) ([]image.DeleteResponse, error) {
	untagged, deleted, err := s.Images.Remove(r.Context(), ref, force)
	if err != nil {
		return nil, err
	}
	out := []image.DeleteResponse{}
	for _, name := range untagged {
		out = append(out, image.DeleteResponse{Untagged: name})
		s.publishImage(events.ActionUnTag, id, name)
	}
	for _, name := range deleted {
		out = append(out, image.DeleteResponse{Deleted: name})
		s.publishImage(events.ActionDelete, id, name)
	}
	return out, nil
}

// inUse refuses to remove an image under containers, in Docker's words: by name
// only its last name counts, and force overrules everything but a container that
// runs. Docker would take the last name away even then and keep the image without
// one; the store here does not know images without a name.
func inUse(ref string, i model.Image, users map[model.ContainerID]bool, force bool) error {
	byName := !strings.HasPrefix(strings.TrimPrefix(string(i.ID), "sha256:"), strings.TrimPrefix(ref, "sha256:"))
	if len(users) == 0 || byName && len(i.Tags) > 1 {
		return nil
	}
	short := model.Short(strings.TrimPrefix(string(i.ID), "sha256:"))
	for id, running := range users {
		switch {
		case byName && !force:
			return model.Errorf(model.Conflict, "conflict: unable to remove repository reference %q (must force) - "+
				"container %s is using its referenced image %s", ref, model.Short(id), short)
		case running:
			return model.Errorf(model.Conflict, "conflict: unable to delete %s (cannot be forced) - image is being used by running container %s",
				short, model.Short(id))
		case !force:
			return model.Errorf(model.Conflict, "conflict: unable to delete %s (must be forced) - image is being used by stopped container %s",
				short, model.Short(id))
		}
	}
	return nil
}

// pruneImages removes images that nobody uses: those without a name, or with
// dangling=false all.
func (s *server) pruneImages(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	if err := f.Check("dangling", "label", "label!", "until"); err != nil {
		return err
	}
	dangling, given, err := f.Bool("dangling")
	if err != nil {
		return err
	}
	until, err := f.Until(time.Now())
	if err != nil {
		return err
	}
	all, err := s.Images.Images(r.Context())
	if err != nil {
		return err
	}
	report := image.PruneReport{}
	for _, i := range all {
		if (dangling || !given) && len(i.Tags) > 0 || len(s.Usage.ImageUsers(i.ID)) > 0 ||
			!until.IsZero() && i.Created.After(until) || !f.MatchAllLabels(i.Config.Labels) {
			continue
		}
		gone, err := s.remove(r, string(i.ID), i.ID, true)
		if err != nil {
			s.log.Warn("image not pruned", "op", "image.prune", "err", err)
			continue
		}
		report.ImagesDeleted = append(report.ImagesDeleted, gone...)
		if slices.ContainsFunc(gone, func(d image.DeleteResponse) bool { return d.Deleted != "" }) {
			report.SpaceReclaimed += uint64(max(0, i.Size))
		}
	}
	return writeJSON(w, http.StatusOK, report)
}

// publishImage says what happened to an image.
func (s *server) publishImage(action events.Action, id model.ImageID, name string) {
	s.Events.Publish(events.Message{Type: events.ImageEventType, Action: action, Actor: events.Actor{
		ID: string(id), Attributes: map[string]string{"name": name},
	}})
}
