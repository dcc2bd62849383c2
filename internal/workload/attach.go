package workload

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

// Attach connects a client to a container's streams until the container's output
// ends, the client goes (ctx), or the user types the detach keys (ErrDetached).
// A container that does not run yet may be attached to: the client then gets the
// output of its next run. A client that does not read for long is cut off
// (Unavailable).
func (m *Manager) Attach(ctx context.Context, ref string, o AttachOptions, s Streams) error {
	b, err := m.find(ref)
	if err != nil {
		return err
	}
	rec := b.snapshot()
	if err := attachable(rec); err != nil {
		return err
	}
	var keys []byte
	if parsed, err := parseDetachKeys(o.DetachKeys); err != nil {
		return err
	} else if rec.Config.Tty {
		keys = parsed
	}
	o.Stdout = o.Stdout && s.Stdout != nil
	o.Stderr = o.Stderr && s.Stderr != nil && !rec.Config.Tty
	if !o.Stream {
		if o.Logs {
			return m.replay(ctx, b, o, time.Now(), s)
		}
		return nil
	}
	ctx, cancel := m.within(ctx)
	defer cancel()
	out, err := m.o.Outputs.Follow(ctx, b.id, o.Stdout, o.Stderr)
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // nothing was written
	if b.isGone() {   // nobody would end it
		return model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	if o.Logs {
		if err := m.replay(ctx, b, o, out.Joined(), s); err != nil {
			return err
		}
	}
	if o.Ready != nil {
		o.Ready()
	}
	m.say(b, events.ActionAttach)
	if !o.Stdin || !rec.Config.OpenStdin {
		s.Stdin = nil
	}
	err = serve(ctx, session{output: out, silent: !o.Stdout && !o.Stderr, streams: s, input: b.input.wait, keys: keys,
		closeInput: rec.Config.StdinOnce && !rec.Config.Tty})
	if errors.Is(err, ErrDetached) {
		m.say(b, events.ActionDetach)
	}
	return err
}

// within returns a context that ends with the manager too.
func (m *Manager) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(m.closed, cancel)
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

// session is one client at the streams of one process.
type session struct {
	output     source
	silent     bool // no output was asked for: only its end comes
	streams    Streams
	input      func(context.Context) (io.WriteCloser, error) // waits for the process's input
	keys       []byte
	closeInput bool // the end of the client's input is that of the process
}

// serve runs a session. Input and output are passed on at the same time; the end
// of the input ends the session only if no output was asked for.
func serve(ctx context.Context, s session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	typed := make(chan error, 1)
	if s.streams.Stdin != nil {
		go func() { typed <- s.forward(ctx) }()
	}
	shown := make(chan error, 1)
	go func() { shown <- s.showAll(ctx) }()
	for {
		select {
		case err := <-shown:
			return err
		case err := <-typed:
			if errors.Is(err, ErrDetached) || s.silent {
				return err
			}
			typed = nil // the process may have closed its input and still talk
		case <-ctx.Done():
			return nil
		}
	}
}

// forward passes the client's input on.
func (s session) forward(ctx context.Context) error {
	to, err := s.input(ctx)
	if err != nil {
		return nil //nolint:nilerr // the client went away before the process came
	}
	err = copyInput(to, s.streams.Stdin, s.keys)
	if s.closeInput && !errors.Is(err, ErrDetached) {
		return errors.Join(err, to.Close())
	}
	return err
}

// showAll writes output to the client until it ends, or the client goes.
func (s session) showAll(ctx context.Context) error {
	for {
		stream, data, err := s.output.Next(ctx)
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := s.show(stream, data); err != nil {
			return err
		}
	}
}

// show writes a piece of output to the client.
func (s session) show(stream string, data []byte) error {
	to := s.streams.Stdout
	if stream == stderrName {
		to = s.streams.Stderr
	}
	if to == nil {
		return nil
	}
	_, err := to.Write(data)
	return err
}

// replay writes what the log has from before the client joined.
func (m *Manager) replay(ctx context.Context, b *box, o AttachOptions, until time.Time, s Streams) error {
	in, err := m.readLog(b, LogQuery{Until: until, Tail: -1})
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
		case e.Stream == stderrName && !o.Stderr || e.Stream != stderrName && !o.Stdout:
			continue
		}
		if err := (session{streams: s}).show(e.Stream, e.Text); err != nil {
			return err
		}
	}
}

// IsTTY tells whether the container has a terminal: its output is then not
// framed into streams.
func (m *Manager) IsTTY(ref string) (bool, error) {
	b, err := m.find(ref)
	if err != nil {
		return false, err
	}
	return b.snapshot().Config.Tty, nil
}
