// Package streams connects clients with the standard streams of processes: attach and
// exec sessions with their detach keys, the input that several clients share, and the
// output of an exec as one stream.
//
// It promises that input and output are passed on at the same time and that nobody who
// does not read holds up another. It must not know whose process it is.
package streams

import (
	"context"
	"errors"
	"io"
)

// Names of output streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// ErrDetached is what a session ends with when the user typed the detach keys: the
// process goes on, and nothing is wrong.
var ErrDetached = errors.New("read escape sequence")

// Source is output as it comes.
type Source interface {
	// Next returns a piece of "stdout" or "stderr", valid until the next call, and
	// io.EOF in the end.
	Next(ctx context.Context) (stream string, data []byte, err error)
}

// Client has a client's ends. On a terminal everything goes to Stdout. A nil
// member is not attached.
type Client struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Write passes a piece of output of the named stream on to the client, if that is
// attached to it.
func (c Client) Write(stream string, data []byte) error {
	to := c.Stdout
	if stream == Stderr {
		to = c.Stderr
	}
	if to == nil {
		return nil
	}
	_, err := to.Write(data)
	return err
}

// Session is one client at the streams of one process.
type Session struct {
	Output     Source
	Silent     bool // no output was asked for: only its end comes
	Client     Client
	Input      func(context.Context) (io.WriteCloser, error) // waits for the process's input
	DetachKeys []byte                                        // nil looks for none
	CloseInput bool                                          // the end of the client's input is that of the process
}

// Serve runs a session. Input and output are passed on at the same time; the end
// of the input ends the session only if no output was asked for. ErrDetached if the user
// typed the detach keys.
func Serve(ctx context.Context, s Session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	typed := make(chan error, 1)
	if s.Client.Stdin != nil {
		go func() { typed <- s.forward(ctx) }()
	}
	shown := make(chan error, 1)
	go func() { shown <- s.showAll(ctx) }()
	for {
		select {
		case err := <-shown:
			return err
		case err := <-typed:
			if errors.Is(err, ErrDetached) || s.Silent {
				return err
			}
			typed = nil // the process may have closed its input and still talk
		case <-ctx.Done():
			return nil
		}
	}
}

// forward passes the client's input on.
func (s Session) forward(ctx context.Context) error {
	to, err := s.Input(ctx)
	if err != nil {
		return nil //nolint:nilerr // the client went away before the process came
	}
	err = copyInput(to, s.Client.Stdin, s.DetachKeys)
	if s.CloseInput && !errors.Is(err, ErrDetached) {
		return errors.Join(err, to.Close())
	}
	return err
}

// showAll writes output to the client until it ends, or the client goes.
func (s Session) showAll(ctx context.Context) error {
	for {
		stream, data, err := s.Output.Next(ctx)
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := s.Client.Write(stream, data); err != nil {
			return err
		}
	}
}
