package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// handoff is what was released for the keeper on a connection, and is still ours
// until that keeper says that it serves.
type handoff struct {
	successor   *wire.Conn
	inventory   wire.Inventory
	descriptors []wire.Descriptor
	follows     []*follow
}

// isReleased tells whether what is held is on its way to another keeper.
func (s *Server) isReleased() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handing != nil
}

// handOver answers with everything that is held. Nothing is served afterwards,
// unless the connection ends before VerbTaken.
func (s *Server) handOver(c *wire.Conn, r wire.Request) error {
	s.mu.Lock()
	busy := s.handing != nil
	if !busy {
		s.handing = &handoff{successor: c}
	}
	l := s.handing
	s.mu.Unlock()
	if busy {
		return send(c, wire.Answer{ID: r.ID, Error: wire.PackError(model.Errorf(model.Conflict, "another keeper takes over already"))})
	}
	var err error
	if l.inventory, l.descriptors, err = s.o.Estate.Release(); err != nil {
		return errors.Join(err, send(c, wire.Answer{ID: r.ID, Error: wire.PackError(err)}))
	}
	all := append(l.descriptors, s.releaseFollows(l)...)
	defer closeFollows(all[len(l.descriptors):])
	l.inventory.Descriptors = len(all)
	if err := s.sendInventory(c, r, l.inventory); err != nil {
		return err
	}
	return sendDescriptors(c, all)
}

// sendInventory answers with an inventory: in parts, unless the successor is of a release
// that does not know them.
func (s *Server) sendInventory(c *wire.Conn, r wire.Request, whole wire.Inventory) error {
	var successor wire.Successor
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &successor); err != nil {
			return fmt.Errorf("request %s: %w", r.Verb, err)
		}
	}
	first := true
	for part := range inParts(whole, successor) {
		var frame any = part
		if first {
			body, err := json.Marshal(part)
			if err != nil {
				return fmt.Errorf("pack inventory: %w", err)
			}
			frame, first = wire.Answer{ID: r.ID, Body: body}, false
		}
		if err := send(c, frame); err != nil {
			return err
		}
	}
	return nil
}

func inParts(whole wire.Inventory, successor wire.Successor) iter.Seq[wire.Inventory] {
	if successor.Parts {
		return whole.Parts(wire.PartSize)
	}
	return func(yield func(wire.Inventory) bool) { yield(whole) }
}

// releaseFollows waits until the clients got what was there for them. Those that
// do not read are left behind.
func (s *Server) releaseFollows(l *handoff) []wire.Descriptor {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.follows))
	s.mu.Unlock()
	var out []wire.Descriptor
	patience := time.After(flushTime)
	for _, f := range all {
		select {
		case <-f.flushed:
		case <-patience:
			return out // the others are left behind too
		}
		l.follows = append(l.follows, f)
		file, err := f.conn.File()
		if err != nil {
			s.log.Warn("a client is left behind", "op", "keeper.handover", "err", err)
			continue
		}
		out = append(out, wire.Descriptor{File: file, Label: wire.Label{
			Kind: wire.LabelFollow, For: string(f.what.Container), Stdout: f.what.Stdout, Stderr: f.what.Stderr,
		}})
	}
	return out
}

func closeFollows(descriptors []wire.Descriptor) {
	for _, d := range descriptors {
		d.File.Close() //nolint:errcheck // a duplicate
	}
}

// sendDescriptors sends as many frames as are needed.
func sendDescriptors(c *wire.Conn, all []wire.Descriptor) error {
	for len(all) > 0 {
		part := all[:min(len(all), wire.MaxDescriptors)]
		all = all[len(part):]
		var frame wire.Descriptors
		var files []*os.File
		for _, d := range part {
			frame.Labels = append(frame.Labels, d.Label)
			files = append(files, d.File)
		}
		if err := send(c, frame, files...); err != nil {
			return err
		}
	}
	return nil
}

// retire ends this keeper: another serves.
func (s *Server) retire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handing == nil {
		return model.Errorf(model.Conflict, "nothing was handed over")
	}
	s.taken = true
	s.end()
	s.settle(false)
	s.log.Info("another keeper has taken over", "op", "keeper.end")
	return nil
}

// resume serves on if the successor on this connection has gone without a word.
func (s *Server) resume(successor *wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.handing
	if l == nil || l.successor != successor || s.taken {
		return
	}
	s.log.Warn("the next keeper has gone, serving on", "op", "keeper.handover")
	if err := s.o.Estate.Adopt(l.inventory, l.descriptors); err != nil {
		s.log.Error("not everything is served on", "op", "keeper.handover", "err", err)
	}
	for _, f := range l.follows {
		f.client = s.o.Follower.Follow(f.what.Container, f.what.Stdout, f.what.Stderr)
		f.flushed = make(chan struct{})
	}
	s.settle(true)
	s.handing = nil
}

// settle lets the followers go on or go. The caller holds mu.
func (s *Server) settle(again bool) {
	for _, f := range s.handing.follows {
		f.again <- again // there is room for one
	}
}
