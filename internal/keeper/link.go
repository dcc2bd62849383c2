package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// link is a connection with a keeper, for many calls at a time.
type link struct {
	conn  *wire.Conn
	hello wire.Hello
	gone  chan struct{} // closed when no more answers will come

	mu      sync.Mutex
	last    uint64
	batches uint64 // requests in parts so far
	waiting map[uint64]chan wire.Answer
	// blank says that the keeper was started anew and has not been given all rows.
	blank bool
}

// errGone is the error of calls that a keeper's end cut off.
var errGone = model.Errorf(model.Unavailable, "the keeper has gone")

// dial connects to a keeper and asks who it is.
func dial(ctx context.Context, path string) (*link, error) {
	c, err := wire.Dial(path)
	if err != nil {
		return nil, err
	}
	l := &link{conn: c, gone: make(chan struct{}), waiting: map[uint64]chan wire.Answer{}}
	go l.receive()
	if err := l.call(ctx, wire.VerbHello, nil, &l.hello); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// close ends the connection and waits until its reader has gone.
func (l *link) close() error {
	err := l.conn.Close()
	<-l.gone
	if errors.Is(err, net.ErrClosed) { // the other side was first
		return nil
	}
	return err
}

// receive passes answers on to the calls that wait for them.
func (l *link) receive() {
	defer close(l.gone)
	defer l.conn.Drop()
	defer l.conn.Close() //nolint:errcheck // an end that the other side made, or a broken one
	for {
		var a wire.Answer
		files, err := l.conn.Receive(&a)
		wire.CloseAll(files) // no answer brings any
		if err != nil {
			return
		}
		l.mu.Lock()
		wait, ok := l.waiting[a.ID]
		delete(l.waiting, a.ID)
		l.mu.Unlock()
		if ok {
			wait <- a // there is room for one
		}
	}
}

// call makes a call and reads its answer into answer, unless that is nil. Errors
// of the keeper come back as they are there; errGone if it ends meanwhile.
func (l *link) call(ctx context.Context, verb wire.Verb, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	wait := make(chan wire.Answer, 1)
	l.mu.Lock()
	l.last++
	id := l.last
	l.waiting[id] = wait
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
	}()
	if err := l.send(wire.Request{ID: id, Verb: verb, Body: raw}); errors.Is(err, wire.ErrTooLarge) {
		return err
	} else if err != nil {
		return errors.Join(errGone, err)
	}
	select {
	case a := <-wait:
		if a.Error != nil || answer == nil {
			return a.Error.Unpack()
		}
		return json.Unmarshal(a.Body, answer)
	case <-l.gone:
		return errGone
	case <-ctx.Done():
		return model.Errorf(model.Unavailable, "the keeper does not answer: %w", context.Cause(ctx))
	}
}

// callInTime is call within callTime.
func (l *link) callInTime(ctx context.Context, verb wire.Verb, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return l.call(ctx, verb, body, answer)
}

func (l *link) send(r wire.Request) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(callTime)); err != nil {
		return err
	}
	return l.conn.Send(r)
}

func (l *link) isBlank() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blank
}

func (l *link) setBlank(blank bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blank = blank
}

// isGone tells whether the connection has ended.
func (l *link) isGone() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}
