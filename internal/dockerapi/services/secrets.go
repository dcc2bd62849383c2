package services

import (
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	hub "github.com/linkspan/linkspan/internal/cluster/services"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

func (a *api) listSecrets(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	if err := f.Check("names", "name", "id", "label"); err != nil {
		return err
	}
	list, err := a.Secrets.List(r.Context(), hub.FileFilter{Whole: f["names"], Names: f["name"], IDs: f["id"], Labels: pairs(f["label"])})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func (a *api) inspectSecret(w http.ResponseWriter, r *httpkit.Request) error {
	s, err := a.Secrets.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, s)
}

func (a *api) createSecret(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.SecretSpec
	if err := r.Decode(&body); err != nil {
		return err
	}
	if err := templated(r, body.Templating, "secret"); err != nil {
		return err
	}
	id, err := a.Secrets.Create(r.Context(), body)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, swarm.SecretCreateResponse{ID: id})
}

// templated refuses a template to clients of versions that have none.
func templated(r *httpkit.Request, d *swarm.Driver, kind string) error {
	if d != nil && r.Version < 37 {
		return model.Errorf(model.Invalid, "%s templating is not supported on the specified API version: %s", kind, r.Version)
	}
	return nil
}

func (a *api) updateSecret(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.SecretSpec
	if err := r.Decode(&body); err != nil {
		return err
	}
	version, err := strconv.ParseUint(r.Query.Get("version"), 10, 64)
	if err != nil {
		return model.Errorf(model.Invalid, "invalid secret version")
	}
	if err := a.Secrets.Update(r.Context(), r.PathValue("id"), version, body); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) removeSecret(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Secrets.Remove(r.Context(), r.PathValue("id")))
}
