package containers

import (
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// Routes returns the handlers of containers, but for exec.
func Routes(o Options) httpkit.Routes {
	a := &api{o}
	return httpkit.Routes{
		"GET /containers/json":           a.listContainers,
		"POST /containers/create":        a.createContainer,
		"POST /containers/prune":         a.pruneContainers,
		"GET /containers/{id}/json":      a.inspectContainer,
		"DELETE /containers/{id...}":     a.removeContainer, // a link's name has a slash
		"POST /containers/{id}/start":    a.startContainer,
		"POST /containers/{id}/stop":     a.stopContainer,
		"POST /containers/{id}/restart":  a.restartContainer,
		"POST /containers/{id}/kill":     a.killContainer,
		"POST /containers/{id}/pause":    a.pauseContainer,
		"POST /containers/{id}/unpause":  a.unpauseContainer,
		"POST /containers/{id}/rename":   a.renameContainer,
		"POST /containers/{id}/update":   a.updateContainer,
		"POST /containers/{id}/wait":     a.waitContainer,
		"GET /containers/{id}/top":       a.topContainer,
		"POST /containers/{id}/attach":   a.attach,
		"GET /containers/{id}/attach/ws": a.attachWebsocket,
		"GET /containers/{id}/logs":      a.logs,
		"POST /containers/{id}/resize":   a.resize,

		"GET /containers/{id}/stats":   a.stats,
		"GET /containers/{id}/changes": a.changes,
		"GET /containers/{id}/export":  a.export,
		"GET /containers/{id}/archive": a.getArchive, // and HEAD
		"PUT /containers/{id}/archive": a.putArchive,

		"POST /commit": a.commit,

		//docker:no checkpoint create, checkpoint ls, checkpoint rm: checkpoints are not supported
		"GET /containers/{id}/checkpoints":  httpkit.Unsupported("checkpoints are not supported"),
		"POST /containers/{id}/checkpoints": httpkit.Unsupported("checkpoints are not supported"),
	}
}

func (a *api) listContainers(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	o := containerhub.ListOptions{All: r.Flag("all"), Size: r.Flag("size"), Filters: f}
	limit, err := r.Number("limit")
	if err != nil {
		return err
	}
	if limit != nil {
		o.Limit = *limit
	}
	// These were parameters of their own before there were filters.
	for _, key := range []string{"before", "since"} {
		if ref := r.Query.Get(key); ref != "" {
			f[key] = append(f[key], ref)
		}
	}
	list, err := a.Containers.List(r.Context(), o)
	if err != nil {
		return err
	}
	if list == nil {
		list = []container.Summary{}
	}
	for i := range list {
		if r.Version < 46 {
			list[i].HostConfig.Annotations = nil
		}
		if r.Version < 52 {
			list[i].Health = nil
		}
	}
	return httpkit.WriteJSON(w, http.StatusOK, list)
}

func (a *api) pruneContainers(w http.ResponseWriter, r *httpkit.Request) error {
	f, err := r.Filters()
	if err != nil {
		return err
	}
	report, err := a.Containers.Prune(r.Context(), f)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, report)
}

func (a *api) removeContainer(w http.ResponseWriter, r *httpkit.Request) error {
	if r.Flag("link") {
		return httpkit.Done(w, a.Containers.RemoveLink(r.Context(), r.PathValue("id")))
	}
	err := a.Containers.Remove(r.Context(), r.PathValue("id"), containerhub.RemoveOptions{Force: r.Flag("force"), Volumes: r.Flag("v")})
	return httpkit.Done(w, err)
}

func (a *api) startContainer(w http.ResponseWriter, r *httpkit.Request) error {
	// Up to 7 bytes may be an empty object or null with white space.
	if r.ContentLength > 7 || r.ContentLength < 0 {
		return model.Errorf(model.Invalid, "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	//docker:no container start --checkpoint, container start --checkpoint-dir: checkpoints are not supported
	if r.Query.Get("checkpoint") != "" {
		return model.Errorf(model.NotImplemented, "checkpoints are not supported")
	}
	return httpkit.Done(w, a.Lifecycle.Start(r.Context(), r.PathValue("id")))
}

// stopOptions reads how a container is to be ended.
func stopOptions(r *httpkit.Request) (containerhub.StopOptions, error) {
	seconds, err := r.Number("t")
	if err != nil {
		return containerhub.StopOptions{}, err
	}
	o := containerhub.StopOptions{Timeout: seconds}
	if r.Version >= 42 {
		o.Signal = r.Query.Get("signal")
	}
	return o, nil
}

func (a *api) stopContainer(w http.ResponseWriter, r *httpkit.Request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return httpkit.Done(w, a.Lifecycle.Stop(r.Context(), r.PathValue("id"), o))
}

func (a *api) restartContainer(w http.ResponseWriter, r *httpkit.Request) error {
	o, err := stopOptions(r)
	if err != nil {
		return err
	}
	return httpkit.Done(w, a.Lifecycle.Restart(r.Context(), r.PathValue("id"), o))
}

func (a *api) killContainer(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Lifecycle.Kill(r.Context(), r.PathValue("id"), r.Query.Get("signal")))
}

func (a *api) pauseContainer(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Lifecycle.Pause(r.Context(), r.PathValue("id")))
}

func (a *api) unpauseContainer(w http.ResponseWriter, r *httpkit.Request) error {
	return httpkit.Done(w, a.Lifecycle.Unpause(r.Context(), r.PathValue("id")))
}

func (a *api) renameContainer(w http.ResponseWriter, r *httpkit.Request) error {
	name := r.Query.Get("name")
	if len(name) > httpkit.MaxName {
		return model.Errorf(model.Invalid, "Invalid container name (%.32s…): it has %d bytes, at most %d are allowed", name, len(name), httpkit.MaxName)
	}
	return httpkit.Done(w, a.Control.Rename(r.Context(), r.PathValue("id"), name))
}

func (a *api) updateContainer(w http.ResponseWriter, r *httpkit.Request) error {
	var body container.UpdateConfig
	if err := r.Decode(&body); err != nil {
		return err
	}
	forgetUpdates(r.Version, &body)
	answer, err := a.Control.Update(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	if answer.Warnings == nil {
		answer.Warnings = []string{}
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}

// forgetUpdates clears what a client of version v does not know, and says "no limit" in one way.
func forgetUpdates(v httpkit.Version, body *container.UpdateConfig) {
	if v < 40 {
		body.PidsLimit = nil
	}
	if v < 55 {
		body.BlkioWeightDevice, body.BlkioDeviceReadBps, body.BlkioDeviceWriteBps = nil, nil, nil
		body.BlkioDeviceReadIOps, body.BlkioDeviceWriteIOps = nil, nil
	}
	if body.PidsLimit != nil && *body.PidsLimit <= 0 {
		body.PidsLimit = new(int64)
	}
}

// waitContainer sends its headers as soon as it waits, so that a client may
// start the container afterwards and not miss its end.
func (a *api) waitContainer(w http.ResponseWriter, r *httpkit.Request) error {
	condition := container.WaitCondition(r.Query.Get("condition"))
	switch condition {
	case "":
		condition = container.WaitConditionNotRunning
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
	default:
		return model.Errorf(model.Invalid, "invalid condition: %q", condition)
	}
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	answer, err := a.Lifecycle.Wait(ctx, r.PathValue("id"), condition)
	if err != nil {
		return err
	}
	out := httpkit.NewStream(w, r, "application/json")
	if err := out.Open(); err != nil {
		return err
	}
	if end, ok := <-answer; ok {
		return out.Encoder().Encode(end)
	}
	return ctx.Err()
}

func (a *api) topContainer(w http.ResponseWriter, r *httpkit.Request) error {
	args := strings.Fields(r.Query.Get("ps_args"))
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	answer, err := a.Control.Top(r.Context(), r.PathValue("id"), args)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}
