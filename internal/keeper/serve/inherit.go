package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// inheritTime bounds a hand-over.
const inheritTime = 20 * time.Second

// Inheritance is what an old keeper has released, and the way to tell it that it
// may go.
type Inheritance struct {
	conn        *wire.Conn
	inventory   wire.Inventory
	descriptors []wire.Descriptor
}

// Inherit asks the keeper at path for everything that it holds. Between its
// return and Taken nobody serves; if the connection ends before, the old keeper
// serves on.
func Inherit(path string) (*Inheritance, error) {
	c, err := wire.Dial(path)
	if err != nil {
		return nil, err
	}
	i := &Inheritance{conn: c}
	if err := i.receive(); err != nil {
		i.drop()
		return nil, fmt.Errorf("take over from the old keeper: %w", err)
	}
	return i, nil
}

func (i *Inheritance) receive() error {
	if err := i.conn.SetDeadline(time.Now().Add(inheritTime)); err != nil {
		return err
	}
	if err := i.ask(wire.VerbHandOver, wire.Successor{Parts: true}, &i.inventory); err != nil {
		return err
	}
	for i.inventory.More {
		var part wire.Inventory
		files, err := i.conn.Receive(&part)
		wire.CloseAll(files) // they come later
		if err != nil {
			return err
		}
		i.inventory.Add(part)
	}
	for len(i.descriptors) < i.inventory.Descriptors {
		var frame wire.Descriptors
		files, err := i.conn.Receive(&frame)
		if err != nil {
			wire.CloseAll(files)
			return err
		}
		if len(files) != len(frame.Labels) || len(files) == 0 {
			wire.CloseAll(files)
			return fmt.Errorf("%d descriptors with %d labels", len(files), len(frame.Labels))
		}
		for n, f := range files {
			i.descriptors = append(i.descriptors, wire.Descriptor{Label: frame.Labels[n], File: f})
		}
	}
	return nil
}

// ask makes a call and waits for its answer: there is one at a time.
func (i *Inheritance) ask(v wire.Verb, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if err := i.conn.Send(wire.Request{ID: 1, Verb: v, Body: raw}); err != nil {
		return err
	}
	var a wire.Answer
	files, err := i.conn.Receive(&a)
	wire.CloseAll(files)
	if err != nil {
		return err
	}
	if a.Error != nil {
		return a.Error.Unpack()
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(a.Body, answer)
}

// Taken tells the old keeper that everything is served, so that it ends. One that
// goes without an answer has ended too.
func (i *Inheritance) Taken() error {
	defer i.conn.Close() //nolint:errcheck // everything was said
	err := i.ask(wire.VerbTaken, nil, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

func (i *Inheritance) drop() {
	for _, d := range i.descriptors {
		d.File.Close() //nolint:errcheck // a duplicate
	}
	i.conn.Close() //nolint:errcheck // the old keeper serves on
	i.conn.Drop()
}

// Adopt serves what was inherited, before Serve is called. Clients come first, so
// that they miss nothing of the output that is read from now on.
func (s *Server) Adopt(i *Inheritance) error {
	var rest []wire.Descriptor
	for _, d := range i.descriptors {
		if d.Label.Kind != wire.LabelFollow {
			rest = append(rest, d)
			continue
		}
		if err := s.adoptFollow(d); err != nil {
			s.log.Warn("a client is left behind", "op", "keeper.adopt", "err", err)
		}
	}
	return s.o.Estate.Adopt(i.inventory, rest)
}

func (s *Server) adoptFollow(d wire.Descriptor) error {
	c, err := unixConn(d.File)
	if err != nil {
		return err
	}
	what := wire.Follow{Container: model.ContainerID(d.Label.For), Stdout: d.Label.Stdout, Stderr: d.Label.Stderr}
	s.newFollow(what, wire.NewConn(c))
	return nil
}

// unixConn makes a connection of a descriptor, which it closes.
func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close() //nolint:errcheck // a duplicate is made
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a unix socket"), c.Close())
	}
	return u, nil
}

// goOn passes output on to the clients that were adopted.
func (s *Server) goOn(ctx context.Context, work *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.follows {
		s.conns[f.conn] = true
		work.Go(func() {
			defer s.leave(f.conn)
			s.pass(ctx, f)
		})
	}
}
