package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/model"
)

// follow is a connection that gets a container's output.
type follow struct {
	what   wire.Follow
	conn   *wire.Conn
	client Client
	// While everything is handed over: flushed is closed when all was written that
	// was there, and again yields whether this keeper goes on after all.
	flushed chan struct{}
	again   chan bool
}

// follow makes a connection one that gets output, until the output or the
// connection ends.
func (s *Server) follow(ctx context.Context, c *wire.Conn, r wire.Request) {
	var f *follow
	s.answer(c, r.ID, func() (any, error) {
		return with(r, func(what wire.Follow) (any, error) {
			if s.isCrowded() {
				return nil, model.Errorf(model.Unavailable, "more clients follow the output of containers than there are descriptors for")
			}
			if f = s.newFollow(what, c); f == nil {
				return nil, model.Errorf(model.Unavailable, "this keeper is being replaced")
			}
			return wire.Joined{At: f.client.Joined()}, nil
		})
	})
	if f != nil {
		s.pass(ctx, f)
	}
}

// isCrowded tells whether clients of output have all the descriptors that are for
// them.
func (s *Server) isCrowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.follows)) >= limits.Files()/filesOfFollows
}

// newFollow notes a follower; nil while everything is handed over.
func (s *Server) newFollow(what wire.Follow, c *wire.Conn) *follow {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handing != nil || s.taken {
		return nil
	}
	f := &follow{
		what: what, conn: c, flushed: make(chan struct{}), again: make(chan bool, 1),
		client: s.o.Follower.Follow(what.Container, what.Stdout, what.Stderr),
	}
	s.follows[f] = true
	return f
}

// pass writes output to the connection until either ends.
func (s *Server) pass(ctx context.Context, f *follow) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the only thing that comes from there is the end
		defer cancel()
		one := make([]byte, 1)
		f.conn.Read(one) //nolint:errcheck // the end is an error, or nothing
	}()
	defer func() {
		s.mu.Lock()
		delete(s.follows, f)
		s.mu.Unlock()
	}()
	for {
		err := f.copyAll(ctx)
		f.client.Close()
		if ctx.Err() != nil || errors.Is(err, errNotRead) {
			return
		}
		if errors.Is(err, io.EOF) || !s.isReleased() {
			finish(f.conn, err)
			return
		}
		close(f.flushed)
		select {
		case <-ctx.Done():
			return
		case again := <-f.again: // if so, with a new client
			if !again {
				return
			}
		}
	}
}

// errNotRead is the error of a connection that cannot be written to.
var errNotRead = errors.New("the daemon does not read")

// copyAll writes output to the connection and returns why no more came.
func (f *follow) copyAll(ctx context.Context) error {
	for {
		stream, data, err := f.client.Next(ctx)
		if err != nil {
			return err
		}
		kind := wire.PieceStdout
		if stream == "stderr" {
			kind = wire.PieceStderr
		}
		if f.conn.SetWriteDeadline(time.Now().Add(answerTime)) != nil || wire.WritePiece(f.conn, kind, data) != nil {
			return errNotRead
		}
	}
}

// finish tells the other side why no more will come.
func finish(c *wire.Conn, err error) {
	kind, data := wire.PieceEnd, []byte(nil)
	if !errors.Is(err, io.EOF) {
		kind = wire.PieceError
		data, _ = json.Marshal(wire.PackError(err)) //nolint:errchkjson // strings and numbers
	}
	if c.SetWriteDeadline(time.Now().Add(answerTime)) == nil {
		wire.WritePiece(c, kind, data) //nolint:errcheck // the other side may be gone
	}
}
