// Package services has the handlers of services, tasks, secrets and configs.
//
// It translates between the API and the swarm, and decides nothing.
package services

import (
	"context"
	"maps"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/swarm"

	hub "github.com/linkspan/linkspan/internal/cluster/services"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/query"
)

// Services makes, shows, changes and removes services.
type Services interface {
	Services(ctx context.Context, f hub.ServiceFilter) ([]swarm.Service, error)
	Service(ctx context.Context, ref string, defaults bool) (swarm.Service, error)
	CreateService(ctx context.Context, spec swarm.ServiceSpec, auth string) (id string, err error)
	UpdateService(ctx context.Context, ref string, u hub.ServiceUpdate) error
	RemoveService(ctx context.Context, ref string) error
}

// Tasks shows tasks, and what they have written.
type Tasks interface {
	Tasks(ctx context.Context, f hub.TaskFilter) ([]swarm.Task, error)
	Task(ctx context.Context, ref string) (swarm.Task, error)
	Logs(ctx context.Context, q hub.LogQuery) (hub.LogStream, error)
}

// Options are what the handlers are made of. All are needed.
type Options struct {
	Services Services
	Tasks    Tasks
	Secrets  Files[swarm.Secret, swarm.SecretSpec]
	Configs  Files[swarm.Config, swarm.ConfigSpec]
}

type api struct{ Options }

// Routes returns the handlers of services, tasks, secrets and configs.
func Routes(o Options) httpkit.Routes {
	a := &api{o}
	routes := httpkit.Routes{
		"GET /services":              a.listServices,
		"GET /services/{id}":         a.inspectService,
		"POST /services/create":      a.createService,
		"POST /services/{id}/update": a.updateService,
		"DELETE /services/{id}":      a.removeService,
		"GET /services/{id}/logs":    a.serviceLogs,
		"GET /tasks":                 a.listTasks,
		"GET /tasks/{id}":            a.inspectTask,
		"GET /tasks/{id}/logs":       a.taskLogs,
	}
	secrets := files[swarm.Secret, swarm.SecretSpec]{
		hub: o.Secrets, kind: "secret", filters: []string{"names", "name", "id", "label"},
		template: func(s swarm.SecretSpec) *swarm.Driver { return s.Templating },
		created:  func(id string) any { return swarm.SecretCreateResponse{ID: id} },
	}
	configs := files[swarm.Config, swarm.ConfigSpec]{
		hub: o.Configs, kind: "config", filters: []string{"name", "id", "label"},
		template: func(s swarm.ConfigSpec) *swarm.Driver { return s.Templating },
		created:  func(id string) any { return swarm.ConfigCreateResponse{ID: id} },
	}
	maps.Copy(routes, secrets.routes())
	maps.Copy(routes, configs.routes())
	return routes
}

func (a *api) listServices(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	status := false
	if text := r.Query.Get("status"); text != "" {
		if status, err = strconv.ParseBool(text); err != nil {
			return model.Errorf(model.Invalid, "invalid value for status: %s: %w", text, err)
		}
	}
	if err := f.Check("name", "id", "label", "mode", "runtime"); err != nil {
		return err
	}
	asked := hub.ServiceFilter{Names: f["name"], IDs: f["id"], Labels: query.Pairs(f["label"]), Modes: f["mode"], Runtimes: f["runtime"], Status: status}
	if !f.Has("runtime") {
		asked.Runtimes = []string{string(swarm.RuntimeContainer)}
	}
	list, err := a.Services.Services(r.Context(), asked)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func (a *api) inspectService(w http.ResponseWriter, r *httpkit.Request) error {
	defaults := false
	if text := r.Query.Get("insertDefaults"); text != "" {
		var err error
		if defaults, err = strconv.ParseBool(text); err != nil {
			return model.Errorf(model.Invalid, "invalid value for insertDefaults: %s: %w", text, err)
		}
	}
	s, err := a.Services.Service(r.Context(), r.PathValue("id"), defaults)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, s)
}

// given is what clients write of a service.
type given struct {
	swarm.ServiceSpec
	// Networks are those of clients of long ago.
	Networks []swarm.NetworkAttachmentConfig
}

func (a *api) createService(w http.ResponseWriter, r *httpkit.Request) error {
	var body given
	if err := r.Decode(&body); err != nil {
		return err
	}
	adjust(r.Version, &body)
	id, err := a.Services.CreateService(r.Context(), body.ServiceSpec, r.Header.Get(registry.AuthHeader))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, swarm.ServiceCreateResponse{ID: id})
}

func (a *api) updateService(w http.ResponseWriter, r *httpkit.Request) error {
	var body given
	if err := r.Decode(&body); err != nil {
		return err
	}
	version, err := r.ObjectVersion("service")
	if err != nil {
		return err
	}
	from := swarm.RegistryAuthSource(r.Query.Get("registryAuthFrom"))
	if from != "" && from != swarm.RegistryAuthFromSpec && from != swarm.RegistryAuthFromPreviousSpec {
		return model.Errorf(model.Invalid, "invalid registryAuthFrom '%s'", from)
	}
	adjust(r.Version, &body)
	err = a.Services.UpdateService(r.Context(), r.PathValue("id"), hub.ServiceUpdate{
		Version: version, Spec: body.ServiceSpec, Auth: r.Header.Get(registry.AuthHeader), AuthFrom: from, Rollback: r.Query.Get("rollback"),
	})
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, swarm.ServiceUpdateResponse{})
}

func (a *api) removeService(w http.ResponseWriter, r *httpkit.Request) error {
	if err := a.Services.RemoveService(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) listTasks(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	asked, err := taskFilter(f)
	if err != nil {
		return err
	}
	list, err := a.Tasks.Tasks(r.Context(), asked)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func taskFilter(f query.Filters) (hub.TaskFilter, error) {
	if err := f.Check("name", "id", "label", "service", "node", "desired-state", "_up-to-date", "runtime"); err != nil {
		return hub.TaskFilter{}, err
	}
	return hub.TaskFilter{
		Names: f["name"], IDs: f["id"], Labels: query.Pairs(f["label"]), Services: f["service"], Nodes: f["node"], Desired: f["desired-state"],
		UpToDate: f.Has("_up-to-date"), Runtimes: f["runtime"],
	}, nil
}

func (a *api) inspectTask(w http.ResponseWriter, r *httpkit.Request) error {
	t, err := a.Tasks.Task(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, t)
}
