package containers

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	containerhub "github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/dockerapi/httpkit"
	"github.com/linkspan/linkspan/internal/model"
)

// attach connects the client to a container's streams. `docker run` attaches
// before it starts the container and takes our switching of the protocol as the
// sign that it may; so that must not come before the client is registered.
func (a *api) attach(w http.ResponseWriter, r *httpkit.Request) error {
	ref := r.PathValue("id")
	tty, err := a.Control.IsTTY(ref)
	if err != nil {
		return err
	}
	t := httpkit.NewTakeover(w, r, tty)
	defer t.Close()
	o := attachOptions(r, t.Open)
	in, out, errs := t.Streams(o.Stdin, o.Stdout, o.Stderr)
	return t.Finish("Error attaching: ", a.attachTo(r, o, containerhub.Streams{Stdin: in, Stdout: out, Stderr: errs}))
}

// attachWebsocket is attach for browsers. Both outputs come as messages, and nothing says of which they are.
func (a *api) attachWebsocket(w http.ResponseWriter, r *httpkit.Request) error {
	if _, err := a.Control.IsTTY(r.PathValue("id")); err != nil {
		return err
	}
	s, err := httpkit.NewWebsocket(w, r)
	if err != nil {
		return err
	}
	defer s.Close()
	o := attachOptions(r, s.Open)
	if r.Version < 42 {
		o.Stdin, o.Stdout, o.Stderr = true, true, true
	}
	var to containerhub.Streams
	if o.Stdin {
		to.Stdin = s
	}
	if o.Stdout {
		to.Stdout = s
	}
	if o.Stderr {
		to.Stderr = s
	}
	return s.Finish("Error attaching: ", a.attachTo(r, o, to))
}

// attachOptions reads what is to be attached. The client is told by open that it is: the streams' first use reports
// the same error.
func attachOptions(r *httpkit.Request, open func() error) containerhub.AttachOptions {
	return containerhub.AttachOptions{
		Stdin: r.Flag("stdin"), Stdout: r.Flag("stdout"), Stderr: r.Flag("stderr"),
		Stream: r.Flag("stream"), Logs: r.Flag("logs"), DetachKeys: r.Query.Get("detachKeys"),
		Ready: func() { _ = open() },
	}
}

// attachTo has a container's streams carried until they end, the client detaches, or the daemon is about to end.
func (a *api) attachTo(r *httpkit.Request, o containerhub.AttachOptions, to containerhub.Streams) error {
	ctx, cancel := httpkit.UntilClosing(context.WithoutCancel(r.Context()))
	defer cancel()
	err := a.Control.Attach(ctx, r.PathValue("id"), o, to)
	if errors.Is(err, containerhub.ErrDetached) {
		return nil
	}
	return err
}

func (a *api) resize(w http.ResponseWriter, r *httpkit.Request) error {
	width, height, err := r.Size()
	if err != nil {
		return err
	}
	if err := a.Control.Resize(r.Context(), r.PathValue("id"), width, height); err != nil {
		return err
	}
	return httpkit.Empty(w, http.StatusOK)
}

func (a *api) logs(w http.ResponseWriter, r *httpkit.Request) error {
	o, err := logOptions(r, time.Now())
	if err != nil {
		return err
	}
	ref := r.PathValue("id")
	tty, err := a.Control.IsTTY(ref)
	if err != nil {
		return err
	}
	out := httpkit.NewStream(w, r, httpkit.StreamType(r.Version, tty))
	to := containerhub.Streams{Stdout: out, Stderr: out}
	if !tty {
		mux := httpkit.NewMultiplexer(out)
		to = containerhub.Streams{Stdout: mux.Stream(stdcopy.Stdout), Stderr: mux.Stream(stdcopy.Stderr)}
	}
	ctx, cancel := httpkit.UntilClosing(r.Context())
	defer cancel()
	if o.Follow {
		// Who follows wants to know at once that it works, even if nothing is said
		// for hours.
		if err := out.Open(); err != nil {
			return err
		}
	}
	err = a.Control.Logs(ctx, ref, o, to)
	switch {
	case err == nil:
		return out.Open()
	case out.Opened() && ctx.Err() == nil:
		// The status is gone; Docker says it among the lines.
		_, _ = to.Stderr.Write([]byte("Error grabbing logs: " + err.Error() + "\n"))
	}
	return err
}

// logOptions reads which lines are asked for.
func logOptions(r *httpkit.Request, now time.Time) (containerhub.LogOptions, error) {
	o := containerhub.LogOptions{
		Stdout: r.Flag("stdout"), Stderr: r.Flag("stderr"), Follow: r.Flag("follow"),
		Timestamps: r.Flag("timestamps"), Details: r.Flag("details"), Tail: -1,
	}
	if !o.Stdout && !o.Stderr {
		return o, model.Errorf(model.Invalid, "Bad parameters: you must choose at least one stream")
	}
	var err error
	if o.Since, err = r.Moment("since", now); err != nil {
		return o, model.Errorf(model.Invalid, "invalid value for \"since\": %w", err)
	}
	if r.Query.Get("until") != "0" { // is none, as ever
		if o.Until, err = r.Moment("until", now); err != nil {
			return o, model.Errorf(model.Invalid, "invalid value for \"until\": %w", err)
		}
	}
	// What is no number is everything, as with Docker: "all", too.
	if n, err := strconv.Atoi(r.Query.Get("tail")); err == nil && n >= 0 {
		o.Tail = n
	}
	return o, nil
}
