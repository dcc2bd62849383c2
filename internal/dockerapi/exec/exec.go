// Package exec has the handlers of `docker exec`: additional processes in containers.
//
// It translates and decides nothing.
package exec

import (
	"context"
	"errors"
	"net/http"

	"github.com/moby/moby/api/types/container"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// Execs runs additional processes in containers.
type Execs interface {
	CreateExec(ctx context.Context, ref string, r container.ExecCreateRequest) (string, error)
	StartExec(ctx context.Context, id string, o containerhub.ExecStart, s containerhub.Streams) error
	InspectExec(ctx context.Context, id string) (container.ExecInspectResponse, error)
	// ExecReady refuses an exec whose container does not run, or is paused.
	ExecReady(id string) error
	ResizeExec(ctx context.Context, id string, width, height uint) error
}

type api struct{ Execs Execs }

// Routes returns the handlers of exec.
func Routes(e Execs) httpkit.Routes {
	a := &api{e}
	return httpkit.Routes{
		"POST /containers/{id}/exec": a.createExec,
		"POST /exec/{id}/start":      a.startExec,
		"POST /exec/{id}/resize":     a.resizeExec,
		"GET /exec/{id}/json":        a.inspectExec,
	}
}

func (a *api) createExec(w http.ResponseWriter, r *httpkit.Request) error {
	var body container.ExecCreateRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	if len(body.Cmd) == 0 {
		return model.Errorf(model.Invalid, "No exec command specified")
	}
	if r.Version < 42 {
		body.ConsoleSize = nil
	}
	id, err := a.Execs.CreateExec(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

func (a *api) startExec(w http.ResponseWriter, r *httpkit.Request) error {
	var body container.ExecStartRequest
	if err := r.Decode(&body); err != nil {
		return err
	}
	id := r.PathValue("id")
	about, err := a.Execs.InspectExec(r.Context(), id)
	if err != nil {
		return err
	}
	if err := a.Execs.ExecReady(id); err != nil {
		return err
	}
	o := containerhub.ExecStart{Detach: body.Detach, TTY: body.Tty}
	if body.ConsoleSize != nil && r.Version >= 42 {
		if !body.Tty {
			return model.Errorf(model.Invalid, "console size is only supported when allocating a pseudo-TTY")
		}
		o.Height, o.Width = body.ConsoleSize[0], body.ConsoleSize[1]
	}
	if body.Detach {
		if err := a.Execs.StartExec(r.Context(), id, o, containerhub.Streams{}); err != nil {
			return err
		}
		return httpkit.Empty(w, http.StatusOK)
	}
	if about.Running {
		return model.Errorf(model.Conflict, "exec command %s is already running", id)
	}
	if about.ExitCode != nil {
		return model.Errorf(model.Conflict, "exec command %s has already run", id)
	}
	t := httpkit.NewTakeover(w, r, body.Tty)
	defer t.Close()
	// The client sends nothing, and cannot set the size of a terminal, before the
	// protocol is switched; so a command that cannot be run is told in words.
	if err := t.Open(); err != nil {
		return err
	}
	ctx, cancel := httpkit.UntilClosing(context.WithoutCancel(r.Context()))
	defer cancel()
	in, out, errs := t.Streams(about.OpenStdin, about.OpenStdout, about.OpenStderr)
	err = a.Execs.StartExec(ctx, id, o, containerhub.Streams{Stdin: in, Stdout: out, Stderr: errs})
	if errors.Is(err, containerhub.ErrDetached) {
		err = nil
	}
	return t.Finish("", err)
}

func (a *api) resizeExec(w http.ResponseWriter, r *httpkit.Request) error {
	width, height, err := r.Size()
	if err != nil {
		return err
	}
	if err := a.Execs.ResizeExec(r.Context(), r.PathValue("id"), width, height); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) inspectExec(w http.ResponseWriter, r *httpkit.Request) error {
	answer, err := a.Execs.InspectExec(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}
