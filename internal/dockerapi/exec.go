package dockerapi

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/workload"
)

func (s *server) execRoutes() []route {
	return []route{
		{"POST /containers/{id}/exec", s.createExec},
		{"POST /exec/{id}/start", s.startExec},
		{"POST /exec/{id}/resize", s.resizeExec},
		{"GET /exec/{id}/json", s.inspectExec},
	}
}

func (s *server) createExec(w http.ResponseWriter, r *request) error {
	var body container.ExecCreateRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	if len(body.Cmd) == 0 {
		return model.Errorf(model.Invalid, "No exec command specified")
	}
	if r.version < 42 {
		body.ConsoleSize = nil
	}
	id, err := s.Execs.CreateExec(r.Context(), r.PathValue("id"), body)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, container.ExecCreateResponse{ID: id})
}

func (s *server) startExec(w http.ResponseWriter, r *request) error {
	var body container.ExecStartRequest
	if err := r.decode(&body); err != nil {
		return err
	}
	id := r.PathValue("id")
	about, err := s.Execs.InspectExec(r.Context(), id)
	if err != nil {
		return err
	}
	if err := s.Execs.ExecReady(id); err != nil {
		return err
	}
	o := workload.ExecStart{Detach: body.Detach, TTY: body.Tty}
	if body.ConsoleSize != nil && r.version >= 42 {
		if !body.Tty {
			return model.Errorf(model.Invalid, "console size is only supported when allocating a pseudo-TTY")
		}
		o.Height, o.Width = body.ConsoleSize[0], body.ConsoleSize[1]
	}
	if body.Detach {
		if err := s.Execs.StartExec(r.Context(), id, o, workload.Streams{}); err != nil {
			return err
		}
		return empty(w, http.StatusOK)
	}
	if about.Running {
		return model.Errorf(model.Conflict, "exec command %s is already running", id)
	}
	if about.ExitCode != nil {
		return model.Errorf(model.Conflict, "exec command %s has already run", id)
	}
	t := newTakeover(w, r, body.Tty)
	defer t.close()
	// The client sends nothing, and cannot set the size of a terminal, before the
	// protocol is switched; so a command that cannot be run is told in words.
	if err := t.open(); err != nil {
		return err
	}
	ctx, cancel := untilClosing(context.WithoutCancel(r.Context()))
	defer cancel()
	return finish(t, "", s.Execs.StartExec(ctx, id, o, t.streams(about.OpenStdin, about.OpenStdout, about.OpenStderr)))
}

func (s *server) resizeExec(w http.ResponseWriter, r *request) error {
	width, height, err := r.size()
	if err != nil {
		return err
	}
	if err := s.Execs.ResizeExec(r.Context(), r.PathValue("id"), width, height); err != nil {
		return err
	}
	return empty(w, http.StatusOK)
}

func (s *server) inspectExec(w http.ResponseWriter, r *request) error {
	answer, err := s.Execs.InspectExec(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}
