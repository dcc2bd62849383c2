package containers

import (
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/commit"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
)

// commit makes an image of a container. The body may be a configuration to be used in the
// place of the container's.
func (a *api) commit(w http.ResponseWriter, r *httpkit.Request) error {
	var body struct{ *container.Config }
	if err := r.Decode(&body); err != nil {
		return err
	}
	q := r.Query
	name := q.Get("repo")
	if tag := q.Get("tag"); name != "" && tag != "" {
		name += ":" + tag
	}
	id, err := a.Commits.Commit(r.Context(), commit.Request{
		Ref: q.Get("container"), Name: name, Author: q.Get("author"), Comment: q.Get("comment"), Config: body.Config,
		Changes: q["changes"], NoPause: q.Has("pause") && !r.Flag("pause"),
	})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, container.CommitResponse{ID: string(id)})
}
