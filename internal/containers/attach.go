package containers

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/reader"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/model"
)

// attacher connects clients with containers' streams.
type attacher struct {
	*registry
	*announcer
	control Control // of terminals
	outputs *outputs
	closed  context.Context // ends with the manager
}

// Attach connects a client to a container's streams until the container's output
// ends, the client goes (ctx), or the user types the detach keys (ErrDetached).
// A container that does not run yet may be attached to: the client then gets the
// output of its next run. A client that does not read for long is cut off
// (Unavailable).
func (at *attacher) Attach(ctx context.Context, ref string, o AttachOptions, s Streams) error {
	b, err := at.find(ref)
	if err != nil {
		return err
	}
	rec := b.snapshot()
	if err := attachable(rec); err != nil {
		return err
	}
	var keys []byte
	if parsed, err := streams.ParseDetachKeys(o.DetachKeys); err != nil {
		return err
	} else if rec.Config.Tty {
		keys = parsed
	}
	o.Stdout = o.Stdout && s.Stdout != nil
	o.Stderr = o.Stderr && s.Stderr != nil && !rec.Config.Tty
	if !o.Stream {
		if o.Logs {
			return at.replay(ctx, b, o, time.Now(), s)
		}
		return nil
	}
	ctx, cancel := at.within(ctx)
	defer cancel()
	out, err := at.outputs.reader.Follow(ctx, b.id, o.Stdout, o.Stderr)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // nothing was written
	if b.isGone() {   // nobody would end it
		return model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	if o.Logs {
		if err := at.replay(ctx, b, o, out.Joined(), s); err != nil {
			return err
		}
	}
	if o.Ready != nil {
		o.Ready()
	}
	at.say(b, events.ActionAttach)
	if !o.Stdin || !rec.Config.OpenStdin {
		s.Stdin = nil
	}
	err = streams.Serve(ctx, streams.Session{Output: out, Silent: !o.Stdout && !o.Stderr, Client: s, Input: b.input.Wait, DetachKeys: keys,
		CloseInput: rec.Config.StdinOnce && !rec.Config.Tty})
	if errors.Is(err, ErrDetached) {
		at.say(b, events.ActionDetach)
	}
	return err
}

// within returns a context that ends with the manager too.
func (at *attacher) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(at.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

func attachable(r record) error {
	switch {
	case r.State.Paused:
		return model.Errorf(model.Conflict, "container %s is paused, unpause the container before attach", r.ID)
	case r.State.Restarting:
		return model.Errorf(model.Conflict, "container %s is restarting, wait until the container is running", r.ID)
	}
	return nil
}

// replay writes what the log has from before the client joined.
func (at *attacher) replay(ctx context.Context, b *entry, o AttachOptions, until time.Time, s Streams) error {
	in, err := reader.OpenLog(at.outputs.logs, at.outputs.dirs, handle{at.announcer, b}, LogQuery{Until: until, Tail: -1})
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	for {
		e, err := in.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case e.Stream == streams.Stderr && !o.Stderr || e.Stream != streams.Stderr && !o.Stdout:
			continue
		}
		if err := s.Write(e.Stream, e.Text); err != nil {
			return err
		}
	}
}
