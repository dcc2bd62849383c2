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

// session is a connection with a keeper, for many calls at a time.
type session struct {
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
func dial(ctx context.Context, path string) (*session, error) {
	c, err := wire.Dial(path)
	if err != nil {
		return nil, err
	}
	s := &session{conn: c, gone: make(chan struct{}), waiting: map[uint64]chan wire.Answer{}}
	go s.receive()
	if err := s.call(ctx, wire.VerbHello, nil, &s.hello); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close ends the connection and waits until its reader has gone.
func (s *session) close() error {
	err := s.conn.Close()
	<-s.gone
	if errors.Is(err, net.ErrClosed) { // the other side was first
		return nil
	}
	return err
}

// receive passes answers on to the calls that wait for them.
func (s *session) receive() {
	defer close(s.gone)
	defer s.conn.Drop()
	defer s.conn.Close() //nolint:errcheck // an end that the other side made, or a broken one
	for {
		var a wire.Answer
		files, err := s.conn.Receive(&a)
		wire.CloseAll(files) // no answer brings any
		if err != nil {
			return
		}
		s.mu.Lock()
		wait, ok := s.waiting[a.ID]
		delete(s.waiting, a.ID)
		s.mu.Unlock()
		if ok {
			wait <- a // there is room for one
		}
	}
}

// call makes a call and reads its answer into answer, unless that is nil. Errors
// of the keeper come back as they are there; errGone if it ends meanwhile.
func (s *session) call(ctx context.Context, verb wire.Verb, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	wait := make(chan wire.Answer, 1)
	s.mu.Lock()
	s.last++
	id := s.last
	s.waiting[id] = wait
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	if err := s.send(wire.Request{ID: id, Verb: verb, Body: raw}); errors.Is(err, wire.ErrTooLarge) {
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
	case <-s.gone:
		return errGone
	case <-ctx.Done():
		return model.Errorf(model.Unavailable, "the keeper does not answer: %w", context.Cause(ctx))
	}
}

// callInTime is call within callTime.
func (s *session) callInTime(ctx context.Context, verb wire.Verb, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return s.call(ctx, verb, body, answer)
}

func (s *session) send(r wire.Request) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(callTime)); err != nil {
		return err
	}
	return s.conn.Send(r)
}

func (s *session) isBlank() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blank
}

func (s *session) setBlank(blank bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blank = blank
}

// isGone tells whether the connection has ended.
func (s *session) isGone() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}
