package dockerapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/workload"
)

func (s *server) streamRoutes() []route {
	return []route{
		{"POST /containers/{id}/attach", s.attach},
		{"GET /containers/{id}/attach/ws", unsupported("attaching through a websocket is not supported")},
		{"GET /containers/{id}/logs", s.logs},
		{"POST /containers/{id}/resize", s.resize},
	}
}

// attach connects the client to a container's streams. `docker run` attaches
// before it starts the container and takes our switching of the protocol as the
// sign that it may; so that must not come before the client is registered.
func (s *server) attach(w http.ResponseWriter, r *request) error {
	ref := r.PathValue("id")
	tty, err := s.Terminals.IsTTY(ref)
	if err != nil {
		return err
	}
	t := newTakeover(w, r, tty)
	defer t.close()
	o := workload.AttachOptions{
		Stdin: r.flag("stdin"), Stdout: r.flag("stdout"), Stderr: r.flag("stderr"),
		Stream: r.flag("stream"), Logs: r.flag("logs"), DetachKeys: r.query.Get("detachKeys"),
		Ready: func() { _ = t.open() }, // the streams' first use reports the same error
	}
	ctx, cancel := untilClosing(context.WithoutCancel(r.Context()))
	defer cancel()
	return finish(t, "Error attaching: ", s.Terminals.Attach(ctx, ref, o, t.streams(o.Stdin, o.Stdout, o.Stderr)))
}

// finish ends a takeover. An error that came before it is the answer; one that
// came after can only be told to the client in words.
func finish(t *takeover, prefix string, err error) error {
	if err == nil || errors.Is(err, workload.ErrDetached) {
		return t.open()
	}
	if t.opened() {
		t.say(prefix + err.Error())
	}
	return err
}

func (s *server) resize(w http.ResponseWriter, r *request) error {
	width, height, err := r.size()
	if err != nil {
		return err
	}
	if err := s.Terminals.Resize(r.Context(), r.PathValue("id"), width, height); err != nil {
		return err
	}
	return empty(w, http.StatusOK)
}

func (s *server) logs(w http.ResponseWriter, r *request) error {
	o, err := logOptions(r, time.Now())
	if err != nil {
		return err
	}
	ref := r.PathValue("id")
	tty, err := s.Terminals.IsTTY(ref)
	if err != nil {
		return err
	}
	out := newStream(w, r, streamType(r.version, tty))
	to := workload.Streams{Stdout: out, Stderr: out}
	if !tty {
		mux := &multiplexer{to: out}
		to = workload.Streams{Stdout: mux.stream(stdcopy.Stdout), Stderr: mux.stream(stdcopy.Stderr)}
	}
	ctx, cancel := untilClosing(r.Context())
	defer cancel()
	if o.Follow {
		// Who follows wants to know at once that it works, even if nothing is said
		// for hours.
		if err := out.open(); err != nil {
			return err
		}
	}
	err = s.Terminals.Logs(ctx, ref, o, to)
	switch {
	case err == nil:
		return out.open()
	case out.opened() && ctx.Err() == nil:
		// The status is gone; Docker says it among the lines.
		_, _ = to.Stderr.Write([]byte("Error grabbing logs: " + err.Error() + "\n"))
	}
	return err
}

// logOptions reads which lines are asked for.
func logOptions(r *request, now time.Time) (workload.LogOptions, error) {
	o := workload.LogOptions{
		Stdout: r.flag("stdout"), Stderr: r.flag("stderr"), Follow: r.flag("follow"),
		Timestamps: r.flag("timestamps"), Details: r.flag("details"), Tail: -1,
	}
	if !o.Stdout && !o.Stderr {
		return o, model.Errorf(model.Invalid, "Bad parameters: you must choose at least one stream")
	}
	var err error
	if o.Since, err = r.moment("since", now); err != nil {
		return o, model.Errorf(model.Invalid, "invalid value for \"since\": %w", err)
	}
	if r.query.Get("until") != "0" { // is none, as ever
		if o.Until, err = r.moment("until", now); err != nil {
			return o, model.Errorf(model.Invalid, "invalid value for \"until\": %w", err)
		}
	}
	// What is no number is everything, as with Docker: "all", too.
	if n, err := strconv.Atoi(r.query.Get("tail")); err == nil && n >= 0 {
		o.Tail = n
	}
	return o, nil
}
