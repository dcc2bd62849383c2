package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// rejoinTime bounds how long a client waits for another keeper when one has gone.
const rejoinTime = 10 * time.Second

// Reader is a container's live output. It is read by one goroutine.
type Reader struct {
	reader  *reader
	current *stream
	joined  time.Time
}

// reader is what restoring knows of a Reader.
type reader struct {
	outputs *Outputs
	what    wire.Follow
	next    chan *stream // the connection with the next keeper; holds one
}

// stream is the connection of a client with one keeper.
type stream struct {
	conn   *wire.Conn
	from   *bufio.Reader
	joined time.Time
	buf    []byte
}

// connect asks a keeper for output.
func (r *reader) connect(ctx context.Context) (*stream, error) {
	c, err := wire.Dial(r.outputs.keeper.o.Socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() }) //nolint:errcheck // it is being given up
	defer stop()
	body, err := json.Marshal(r.what)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	var a wire.Answer
	if err := c.Send(wire.Request{ID: 1, Verb: wire.VerbFollow, Body: body}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	files, err := c.Receive(&a)
	wire.CloseAll(files)
	if err == nil && a.Error != nil {
		err = a.Error.Unpack()
	}
	var joined wire.Joined
	if err == nil {
		err = json.Unmarshal(a.Body, &joined)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &stream{conn: c, from: bufio.NewReader(c.Rest()), joined: joined.At}, nil
}

// rejoin connects the client with the keeper that has just started. What the old
// one sent is still read first. The caller holds the outputs' lock.
func (r *reader) rejoin(ctx context.Context) {
	s, err := r.connect(ctx)
	if err != nil {
		r.outputs.keeper.log.Warn("a client is left behind", "container", model.Short(r.what.Container), "op", "keeper.restore", "err", err)
		return
	}
	select {
	case r.next <- s:
	default: // it has not even used the one before
		s.conn.Close() //nolint:errcheck // nothing was read
	}
}

// Joined is the time from which on output comes: what the log has until then is
// all there was before.
func (r *Reader) Joined() time.Time { return r.joined }

// Next returns a piece of "stdout" or "stderr", valid until the next call, and
// io.EOF when output has ended.
func (r *Reader) Next(ctx context.Context) (string, []byte, error) {
	for {
		stop := context.AfterFunc(ctx, func() { r.current.conn.SetReadDeadline(time.Now()) }) //nolint:errcheck // then Close ends it
		kind, data, err := wire.ReadPiece(r.current.from, r.current.buf)
		stop()
		if ctx.Err() != nil {
			return "", nil, context.Cause(ctx)
		}
		if err != nil {
			if err := r.goOn(ctx); err != nil {
				return "", nil, err
			}
			continue
		}
		r.current.buf = data[:cap(data)]
		switch kind {
		case wire.PieceStdout:
			return "stdout", data, nil
		case wire.PieceStderr:
			return "stderr", data, nil
		case wire.PieceEnd:
			return "", nil, io.EOF
		case wire.PieceError:
			var e wire.Error
			if err := json.Unmarshal(data, &e); err != nil {
				return "", nil, fmt.Errorf("unpack error: %w", err)
			}
			return "", nil, e.Unpack()
		}
	}
}

// goOn changes to the connection with the next keeper.
func (r *Reader) goOn(ctx context.Context) error {
	timer := time.NewTimer(rejoinTime)
	defer timer.Stop()
	select {
	case next := <-r.reader.next:
		r.current.conn.Close() //nolint:errcheck // its keeper has gone
		r.current = next
		return nil
	case <-timer.C:
		return errGone
	case <-r.reader.outputs.keeper.quit:
		return errGone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the client.
func (r *Reader) Close() error {
	o := r.reader.outputs
	o.mu.Lock()
	delete(o.readers, r.reader)
	o.mu.Unlock()
	select {
	case next := <-r.reader.next:
		next.conn.Close() //nolint:errcheck // nothing was read
	default:
	}
	return r.current.conn.Close()
}
