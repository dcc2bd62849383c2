package services

import (
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/swarm"

	hub "github.com/linkspan/linkspan/internal/cluster/services"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

func (a *api) listConfigs(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	if err := f.Check("name", "id", "label"); err != nil {
		return err
	}
	list, err := a.Configs.List(r.Context(), hub.FileFilter{Names: f["name"], IDs: f["id"], Labels: pairs(f["label"])})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func (a *api) inspectConfig(w http.ResponseWriter, r *httpkit.Request) error {
	s, err := a.Configs.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, s)
}

func (a *api) createConfig(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.ConfigSpec
	if err := r.Decode(&body); err != nil {
		return err
	}
	if err := templated(r, body.Templating, "config"); err != nil {
		return err
	}
	id, err := a.Configs.Create(r.Context(), body)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, swarm.ConfigCreateResponse{ID: id})
}

func (a *api) updateConfig(w http.ResponseWriter, r *httpkit.Request) error {
	var body swarm.ConfigSpec
	if err := r.Decode(&body); err != nil {
		return err
	}
	version, err := strconv.ParseUint(r.Query.Get("version"), 10, 64)
	if err != nil {
		return model.Errorf(model.Invalid, "invalid config version")
	}
	if err := a.Configs.Update(r.Context(), r.PathValue("id"), version, body); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) removeConfig(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Configs.Remove(r.Context(), r.PathValue("id")))
}
