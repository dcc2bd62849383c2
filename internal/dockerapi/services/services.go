// Package services has the handlers of services, tasks, secrets and configs.
//
// It translates between the API and the swarm, and decides nothing.
package services

import (
	"context"
	"net/http"
	"strconv"
	"strings"

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

// Secrets makes, shows, changes and removes secrets.
type Secrets interface {
	List(ctx context.Context, f hub.FileFilter) ([]swarm.Secret, error)
	Find(ctx context.Context, ref string) (swarm.Secret, error)
	Create(ctx context.Context, spec swarm.SecretSpec) (id string, err error)
	Update(ctx context.Context, ref string, version uint64, spec swarm.SecretSpec) error
	Remove(ctx context.Context, ref string) error
}

// Configs makes, shows, changes and removes configs.
type Configs interface {
	List(ctx context.Context, f hub.FileFilter) ([]swarm.Config, error)
	Find(ctx context.Context, ref string) (swarm.Config, error)
	Create(ctx context.Context, spec swarm.ConfigSpec) (id string, err error)
	Update(ctx context.Context, ref string, version uint64, spec swarm.ConfigSpec) error
	Remove(ctx context.Context, ref string) error
}

// Options are what the handlers are made of. All are needed.
type Options struct {
	Services Services
	Tasks    Tasks
	Secrets  Secrets
	Configs  Configs
}

type api struct{ Options }

// Routes returns the handlers of services, tasks, secrets and configs.
func Routes(o Options) httpkit.Routes {
	a := &api{o}
	return httpkit.Routes{
		"GET /services":              a.listServices,
		"GET /services/{id}":         a.inspectService,
		"POST /services/create":      a.createService,
		"POST /services/{id}/update": a.updateService,
		"DELETE /services/{id}":      a.removeService,
		"GET /services/{id}/logs":    a.serviceLogs,
		"GET /tasks":                 a.listTasks,
		"GET /tasks/{id}":            a.inspectTask,
		"GET /tasks/{id}/logs":       a.taskLogs,
		"GET /secrets":               a.listSecrets,
		"GET /secrets/{id}":          a.inspectSecret,
		"POST /secrets/create":       a.createSecret,
		"POST /secrets/{id}/update":  a.updateSecret,
		"DELETE /secrets/{id}":       a.removeSecret,
		"GET /configs":               a.listConfigs,
		"GET /configs/{id}":          a.inspectConfig,
		"POST /configs/create":       a.createConfig,
		"POST /configs/{id}/update":  a.updateConfig,
		"DELETE /configs/{id}":       a.removeConfig,
	}
}

// pairs reads conditions of the form "name=value".
func pairs(values []string) map[string]string {
	out := make(map[string]string, len(values))
	for _, text := range values {
		name, value, _ := strings.Cut(text, "=")
		out[name] = value
	}
	return out
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
	asked := hub.ServiceFilter{Names: f["name"], IDs: f["id"], Labels: pairs(f["label"]), Modes: f["mode"], Runtimes: f["runtime"], Status: status}
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
	version, err := objectVersion(r, "service")
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

// objectVersion reads the version of the object that a change was made from.
func objectVersion(r *httpkit.Request, kind string) (uint64, error) {
	text := r.Query.Get("version")
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, model.Errorf(model.Invalid, "invalid %s version '%s': %w", kind, text, err)
	}
	return version, nil
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
		Names: f["name"], IDs: f["id"], Labels: pairs(f["label"]), Services: f["service"], Nodes: f["node"], Desired: f["desired-state"],
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
