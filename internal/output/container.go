package output

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

// The names of the streams, in logs and towards clients.
const (
	stdoutName = "stdout"
	stderrName = "stderr"
)

// container is one container's output. It outlives runs: clients may attach
// before the first and stay for the next.
type container struct {
	id  model.ContainerID
	all *Outputs

	uses int // guarded by Outputs.mu

	turn sync.Mutex // one Open, Begun, Close or Release at a time; guards nothing else

	mu       sync.Mutex // held while the log is written, so that join falls between two pieces
	run      *run       // nil: nothing is open
	clients  map[*Client]bool
	last     time.Time     // of the newest piece or client
	expected int           // clients that were attached before the hand-over and are not back
	returned chan struct{} // closed when expected gets to 0
}

func newContainer(id model.ContainerID, all *Outputs) *container {
	return &container{id: id, all: all, clients: map[*Client]bool{}}
}

// running returns the run that is open; nil if there is none.
func (c *container) running() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run
}

// opened returns what is open.
func (c *container) opened() (model.Output, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == nil {
		return model.Output{}, false
	}
	return c.run.output, true
}

// describe has other attributes noted with the lines of a run from now on.
func (c *container) describe(r *run, attributes map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.output.Attributes = attributes
	r.log.opts.attributes = jsonlog.NewAttributes(attributes)
}

// begin makes a run the container's and begins to read it, once the clients that
// are expected are back.
func (c *container) begin(r *run, expected int) {
	c.mu.Lock()
	c.run = r
	c.expected = max(expected-len(c.clients), 0)
	c.returned = make(chan struct{})
	if c.expected == 0 {
		close(c.returned)
	}
	returned := c.returned
	c.mu.Unlock()
	if len(r.streams) == 0 {
		close(r.drained)
		return
	}
	r.reading.Store(int32(len(r.streams)))
	for _, s := range r.streams {
		go func() {
			if r.await(returned, c.all.opts.Grace) {
				c.read(r, s)
			}
			if r.reading.Add(-1) == 0 {
				close(r.drained)
			}
		}()
	}
}

// read reads a stream until it ends or the run is stopped.
func (c *container) read(r *run, s *stream) {
	for {
		err := s.next(&c.all.chunks)
		if s.n > 0 {
			c.take(r, s, s.chunk[:s.n])
		}
		s.giveBack(&c.all.chunks)
		switch {
		case errors.Is(err, io.EOF):
			c.mu.Lock()
			r.log.endLine(s.name, c.stampLocked())
			c.mu.Unlock()
			return
		case err != nil:
			return // stopped: nothing else happens to a FIFO
		}
		s.rest()
	}
}

// take takes a piece of output: into the log, then to the clients. data may be
// used again afterwards.
func (c *container) take(r *run, s *stream, data []byte) {
	c.mu.Lock()
	r.log.write(s.name, c.stampLocked(), data)
	targets := s.targets[:0]
	for client := range c.clients {
		if client.wants(s.name) {
			targets = append(targets, client)
		}
	}
	c.mu.Unlock()
	if len(targets) > 0 {
		offer(targets, piece{s.name, bytes.Clone(data)}, r.ended, c.all.opts.Patience)
		clear(targets)
	}
	s.targets = targets[:0]
}

// stampLocked returns the time, later than any it returned before, so that it
// tells pieces and clients apart. A clock that was set back is followed.
func (c *container) stampLocked() time.Time {
	now := time.Now().Round(0)
	if ahead := c.last.Sub(now); ahead >= 0 && ahead < time.Second {
		now = c.last.Add(1)
	}
	c.last = now
	return now
}

// join adds a client. Lines that have begun are logged as far as they go, with
// times before the client's: else their beginnings would be neither in what the
// log has from before nor in the client's queue. Of a character that has only
// begun the client gets the beginning too.
func (c *container) join(client *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expected > 0 { // it has seen what there was
		if c.expected--; c.expected == 0 {
			close(c.returned)
		}
	} else if c.run != nil {
		for _, name := range []string{stdoutName, stderrName} {
			if begun := c.run.log.breakLine(name, c.stampLocked()); len(begun) > 0 && client.wants(name) {
				client.push(piece{name, begun}, noLimit)
			}
		}
	}
	client.joined = c.stampLocked()
	c.clients[client] = true
}

func (c *container) remove(client *Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, client)
}

// endClients tells all clients that no more will come, and returns how many
// there were.
func (c *container) endClients(why error) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for client := range c.clients {
		if client.end(why) {
			n++
		}
	}
	clear(c.clients)
	return n
}

// stop ends a run: what was read is logged, what waits in the FIFOs is not read.
func (c *container) stop(r *run) error {
	r.halt()
	c.mu.Lock()
	c.run = nil
	err := r.log.close(c.stampLocked())
	c.mu.Unlock()
	r.closeGuards()
	r.closeFiles()
	return err
}

// hand ends a run so that another process can go on with it.
func (c *container) hand(r *run) Handed {
	r.halt()
	c.mu.Lock()
	c.run = nil
	out := Handed{Output: r.output, Begun: r.begun, Partial: r.log.release()}
	c.mu.Unlock()
	r.closeGuards()
	out.Files = r.takeFiles()
	return out
}
