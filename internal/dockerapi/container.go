package dockerapi

import (
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/workload"
)

func (s *server) containerRoutes() []route {
	routes := []route{
		{"GET /containers/json", s.listContainers},
		{"POST /containers/create", s.createContainer},
		{"POST /containers/prune", s.pruneContainers},
		{"GET /containers/{id}/json", s.inspectContainer},
		{"DELETE /containers/{id...}", s.removeContainer}, // a link's name has a slash
		{"POST /containers/{id}/start", s.startContainer},
		{"POST /containers/{id}/stop", s.stopContainer},
		{"POST /containers/{id}/restart", s.restartContainer},
		{"POST /containers/{id}/kill", s.killContainer},
		{"POST /containers/{id}/pause", s.pauseContainer},
		{"POST /containers/{id}/unpause", s.unpauseContainer},
		{"POST /containers/{id}/rename", s.renameContainer},
		{"POST /containers/{id}/update", s.updateContainer},
		{"POST /containers/{id}/wait", s.waitContainer},
		{"GET /containers/{id}/top", s.topContainer},
	}
	for pattern, what := range map[string]string{
		"GET /containers/{id}/stats":   "statistics of containers are not supported yet",
		"GET /containers/{id}/changes": "listing a container's changed files is not supported yet",
		"GET /containers/{id}/export":  "exporting a container's files is not supported yet",
		"GET /containers/{id}/archive": "copying files out of containers is not supported yet: docker exec ID tar does it",
		"PUT /containers/{id}/archive": "copying files into containers is not supported yet: docker exec -i ID tar does it",

		"GET /containers/{id}/checkpoints":  "checkpoints are not supported",
		"POST /containers/{id}/checkpoints": "checkpoints are not supported",
	} {
		routes = append(routes, route{pattern, unsupported(what)})
	}
	return routes
}

func (s *server) listContainers(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	o := workload.ListOptions{All: r.flag("all"), Size: r.flag("size"), Filters: f}
	limit, err := r.number("limit")
	if err != nil {
		return err
	}
	if limit != nil {
		o.Limit = *limit
	}
	// These were parameters of their own before there were filters.
	for _, key := range []string{"before", "since"} {
		if ref := r.query.Get(key); ref != "" {
			f[key] = append(f[key], ref)
		}
	}
	list, err := s.Containers.List(r.Context(), o)
	if err != nil {
		return err
	}
	if list == nil {
		list = []container.Summary{}
	}
	for i := range list {
		if r.version < 46 {
			list[i].HostConfig.Annotations = nil
		}
		if r.version < 52 {
			list[i].Health = nil
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

func (s *server) pruneContainers(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	report, err := s.Containers.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, report)
}

func (s *server) removeContainer(w http.ResponseWriter, r *request) error {
	if r.flag("link") {
		return done(w, s.Memberships.RemoveLink(r.Context(), r.PathValue("id")))
	}
	err := s.Containers.Remove(r.Context(), r.PathValue("id"), workload.RemoveOptions{Force: r.flag("force"), Volumes: r.flag("v")})
	return done(w, err)
}

// done answers 204 unless there is an error.
func done(w http.ResponseWriter, err error) error {
	if err != nil {
		return err
	}
	return empty(w, http.StatusNoContent)
}

func (s *server) startContainer(w http.ResponseWriter, r *request) error {
	// Up to 7 bytes may be an empty object or null with white space.
	if r.ContentLength > 7 || r.ContentLength < 0 {
		return model.Errorf(model.Invalid, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if r.query.Get("checkpoint") != "" {
		return model.Errorf(model.NotImplemented, "checkpoints are not supported")
	}
	return done(w, s.Lifecycle.Start(r.Context(), r.PathValue("id")))
}

// stopOptions reads how a container is to be ended.
func stopOptions(r *request) (workload.StopOptions, error) {
	seconds, err := r.number("t")
	if err != nil {
		return workload.StopOptions{}, err
	}
	o := workload.StopOptions{Timeout: seconds}
	if r.version >= 42 {
		o.Signal = r.query.Get("signal")
	}
	return o, nil
}

func (s *server) stopContainer(w http.ResponseWriter, r *request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return done(w, s.Lifecycle.Stop(r.Context(), r.PathValue("id"), o))
}

func (s *server) restartContainer(w http.ResponseWriter, r *request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return done(w, s.Lifecycle.Restart(r.Context(), r.PathValue("id"), o))
}

func (s *server) killContainer(w http.ResponseWriter, r *request) error {
	return done(w, s.Lifecycle.Kill(r.Context(), r.PathValue("id"), r.query.Get("signal")))
}

func (s *server) pauseContainer(w http.ResponseWriter, r *request) error {
	return done(w, s.Control.Pause(r.Context(), r.PathValue("id")))
}

func (s *server) unpauseContainer(w http.ResponseWriter, r *request) error {
	return done(w, s.Control.Unpause(r.Context(), r.PathValue("id")))
}

func (s *server) renameContainer(w http.ResponseWriter, r *request) error {
	name := r.query.Get("name")
	if len(name) > maxName {
		return model.Errorf(model.Invalid, "Invalid container name (%.32s…): it has %d bytes, at most %d are allowed", name, len(name), maxName)
	}
	return done(w, s.Control.Rename(r.Context(), r.PathValue("id"), name))
}

func (s *server) updateContainer(w http.ResponseWriter, r *request) error {
	var body container.UpdateConfig
	if err := r.decode(&body); err != nil {
		return err
	}
	answer, err := s.Control.Update(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	if answer.Warnings == nil {
		answer.Warnings = []string{}
	}
	return writeJSON(w, http.StatusOK, answer)
}

// waitContainer sends its headers as soon as it waits, so that a client may
// start the container afterwards and not miss its end.
func (s *server) waitContainer(w http.ResponseWriter, r *request) error {
	condition := container.WaitCondition(r.query.Get("condition"))
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return model.Errorf(model.Invalid, "invalid condition: %q", condition)
	}
	ctx, cancel := untilClosing(r.Context())
	defer cancel()
	answer, err := s.Lifecycle.Wait(ctx, r.PathValue("id"), condition)
	if err != nil {
		return err
	}
	out := newStream(w, r, "application/json")
	if err := out.open(); err != nil {
		return err
	}
	if end, ok := <-answer; ok {
		return out.encoder().Encode(end)
	}
	return ctx.Err()
}

func (s *server) topContainer(w http.ResponseWriter, r *request) error {
	args := strings.Fields(r.query.Get("ps_args"))
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	answer, err := s.Control.Top(r.Context(), r.PathValue("id"), args)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}
