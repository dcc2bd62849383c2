package services

import (
	"context"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	hub "github.com/linkspan/linkspan/internal/cluster/services"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Files makes, shows, changes and removes what a swarm keeps for its tasks as files:
// secrets, or configs.
type Files[Object, Spec any] interface {
	List(ctx context.Context, f hub.FileFilter) ([]Object, error)
	Find(ctx context.Context, ref string) (Object, error)
	Create(ctx context.Context, spec Spec) (id string, err error)
	Update(ctx context.Context, ref string, version uint64, spec Spec) error
	Remove(ctx context.Context, ref string) error
}

// files has the handlers of one kind of them.
type files[Object, Spec any] struct {
	hub      Files[Object, Spec]
	kind     string
	filters  []string // that a list takes
	template func(Spec) *swarm.Driver
	created  func(id string) any
}

func (f files[Object, Spec]) routes() httpkit.Routes {
	at := "/" + f.kind + "s"
	return httpkit.Routes{
		"GET " + at:                   f.list,
		"GET " + at + "/{id}":         f.inspect,
		"POST " + at + "/create":      f.create,
		"POST " + at + "/{id}/update": f.update,
		"DELETE " + at + "/{id}":      f.remove,
	}
}

func (f files[Object, Spec]) list(w http.ResponseWriter, r *httpkit.Request) error {
	given, err := r.Filters()
	if err != nil {
		return err
	}
	if err := given.Check(f.filters...); err != nil {
		return err
	}
	list, err := f.hub.List(r.Context(), hub.FileFilter{Whole: given["names"], Names: given["name"], IDs: given["id"], Labels: query.Pairs(given["label"])})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func (f files[Object, Spec]) inspect(w http.ResponseWriter, r *httpkit.Request) error {
	one, err := f.hub.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, one)
}

func (f files[Object, Spec]) create(w http.ResponseWriter, r *httpkit.Request) error {
	var body Spec
	if err := r.Decode(&body); err != nil {
		return err
	}
	if f.template(body) != nil && r.Version < 37 {
		return model.Errorf(model.Invalid, "%s templating is not supported on the specified API version: %s", f.kind, r.Version)
	}
	id, err := f.hub.Create(r.Context(), body)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, f.created(id))
}

func (f files[Object, Spec]) update(w http.ResponseWriter, r *httpkit.Request) error {
	var body Spec
	if err := r.Decode(&body); err != nil {
		return err
	}
	version, err := strconv.ParseUint(r.Query.Get("version"), 10, 64)
	if err != nil { // Docker does not say here what is wrong with it
		return model.Errorf(model.Invalid, "invalid %s version", f.kind)
	}
	if err := f.hub.Update(r.Context(), r.PathValue("id"), version, body); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (f files[Object, Spec]) remove(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, f.hub.Remove(r.Context(), r.PathValue("id")))
}
