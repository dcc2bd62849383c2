// Package output reads what containers print, for as long as they live, keeps it
// in logs, and passes it on to the clients that are attached.
//
//	container -> FIFO -> reader -> lines -> log (jsonlog)
//	                       \
//	                        +-> queue -> client
//
// It promises that a container is never held up for longer than a client may
// take (Options.Patience) or a disk takes to answer; that a log which cannot be
// written costs the log and not the container; that a client which joins finds
// every byte either in the log, in entries up to Joined, or in its queue, and
// none in both; that memory is bounded for each container and each client; and
// that Release and Adopt together neither lose nor double a byte. It must not
// know why a container runs or who a client is, and it never writes to a
// container.
package output

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/limits"
	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
	"github.com/linkspan/linkspan/internal/output/remotelog"
)

// defaultPatience is Options.Patience where nothing else is said.
const defaultPatience = 10 * time.Second

// Options is what Outputs need.
type Options struct {
	Logger *slog.Logger
	// Patience is how long a container's output waits for a client whose queue is
	// full before the client is cut off; 0 means 10 s. Clients that are full at
	// the same time are waited for together.
	Patience time.Duration
	// Grace is how long an adopted container's output waits for the clients that
	// were attached to it to come back; 0 means 2 s.
	Grace time.Duration
}

// Outputs is the output of all containers. Its methods may be called from any
// goroutine, and calls for different containers do not wait for each other.
type Outputs struct {
	opts    Options
	chunks  sync.Pool       // of *chunk: memory to read into
	buffers jsonlog.Buffers // memory to write logs from

	mu         sync.Mutex
	containers map[model.ContainerID]*container
	released   bool
}

// New returns Outputs without a container.
func New(o Options) *Outputs {
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	out := &Outputs{opts: o, containers: map[model.ContainerID]*container{}}
	out.chunks.New = func() any { return new(chunk) }
	return out
}

// Open begins to read a container's output from FIFOs that exist. Until Begun no
// end of output is seen. Of what is open with the same FIFOs only the attributes
// change; if they were made anew, what was open ends and its clients get the
// output of the new ones. A log that cannot be kept is no error.
func (o *Outputs) Open(ctx context.Context, out model.Output) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := o.acquire(out.Container)
	if err != nil {
		return err
	}
	defer o.letGo(c)
	c.turn.Lock()
	defer c.turn.Unlock()
	if old := c.running(); old != nil {
		if old.reads(out.Pipes) {
			c.describe(old, out.Attributes)
			return nil
		}
		if err := o.stop(c, old); err != nil {
			o.opts.Logger.Error("log not closed", "container", model.Short(out.Container), "op", "output.open", "err", err)
		}
	}
	var r *run
	err = limits.Retry(ctx, func() (err error) {
		r, err = openRun(out)
		return err
	})
	if err != nil {
		return &model.Error{Op: "output.open", Subject: string(out.Container), Err: err}
	}
	remote, err := remotelog.Open(out, out.Running, o.logOf(c))
	if err != nil {
		r.closeGuards()
		r.closeFiles()
		return &model.Error{Op: "output.open", Subject: string(out.Container), Kind: model.Unfit, Err: err}
	}
	r.remote = remote
	return o.start(c, r, Handed{})
}

// openRun opens our ends of a container's FIFOs, and guards.
func openRun(out model.Output) (*run, error) {
	streams, err := openStreams(out.Pipes)
	if err != nil {
		return nil, err
	}
	r := newRun(out, streams)
	if err := r.guard(); err != nil {
		r.closeFiles()
		return nil, err
	}
	return r, nil
}

// Begun says that the container's process has its own ends of the FIFOs: the end
// of output is from now on what it says.
func (o *Outputs) Begun(id model.ContainerID) {
	if c := o.find(id); c != nil {
		defer o.letGo(c)
		c.turn.Lock()
		defer c.turn.Unlock()
		if r := c.running(); r != nil {
			r.unguard()
		}
	}
}

// Drain is called when the container's process has ended. It returns when all output
// that it made was read and is in the log: both streams have ended. Clients are not
// waited for, their queues take what is left. It returns at once if nothing is open,
// and ctx's error if that is over first.
func (o *Outputs) Drain(ctx context.Context, id model.ContainerID) error {
	c := o.find(id)
	if c == nil {
		return nil
	}
	defer o.letGo(c)
	r := c.running()
	if r == nil {
		return nil
	}
	r.end()
	select {
	case <-r.drained:
	case <-ctx.Done():
		return fmt.Errorf("drain the output of %s: %w", id, context.Cause(ctx))
	}
	if o.isReleased() {
		return replaced()
	}
	return nil
}

// Close says that a container's run is over. It stops reading, logs lines that
// have no end, closes the log, and ends the container's clients once they have
// got what is in their queues. It may be called again, and without Open. Errors
// are about the log; everything is closed in any case.
func (o *Outputs) Close(id model.ContainerID) error {
	c := o.find(id)
	if c == nil {
		return nil
	}
	defer o.letGo(c)
	c.turn.Lock()
	defer c.turn.Unlock()
	var err error
	if r := c.running(); r != nil {
		err = o.stop(c, r)
	}
	c.endClients(io.EOF)
	return err
}

// List returns what is open, by container.
func (o *Outputs) List() []model.Output {
	var out []model.Output
	for _, c := range o.all() {
		if one, open := c.opened(); open {
			out = append(out, one)
		}
		o.letGo(c)
	}
	return out
}

// Follow attaches a client to a container's streams: from now on it gets what
// the container prints, in this run or the next, until Close. The caller must
// close it. In Outputs that were released it ends at once.
func (o *Outputs) Follow(id model.ContainerID, stdout, stderr bool) *Client {
	client := newClient(stdout, stderr)
	c, err := o.acquire(id)
	if err != nil {
		client.joined = time.Now()
		client.end(err)
		return client
	}
	client.leave = sync.OnceFunc(func() {
		c.remove(client)
		o.letGo(c)
	})
	c.join(client)
	if o.isReleased() { // it may have come too late to be told
		client.end(replaced())
	}
	return client
}

// start makes a run the container's, which it keeps in use until stop or Release,
// and begins to read.
func (o *Outputs) start(c *container, r *run, from Handed) error {
	o.mu.Lock()
	released := o.released
	if !released {
		c.uses++
	}
	o.mu.Unlock()
	if released {
		if r.remote != nil {
			_ = r.remote.Close() // nothing was sent
		}
		r.closeGuards()
		r.closeFiles()
		return replaced()
	}
	r.log = newLineLog(lineLogOptions{
		path: r.output.Log, folder: r.output.Driver == logoptions.Local, config: logoptions.Files(r.output.Driver, r.output.Options), attributes: jsonlog.NewAttributes(r.output.Attributes),
		buffers: &o.buffers, remote: r.remote, log: o.logOf(c),
	})
	r.log.adopt(from.Partial)
	c.begin(r, from.Clients)
	return nil
}

// logOf returns where is said what happens to a container's output.
func (o *Outputs) logOf(c *container) *slog.Logger {
	return o.opts.Logger.With("container", model.Short(c.id))
}

// stop ends a container's run.
func (o *Outputs) stop(c *container, r *run) error {
	defer o.letGo(c)
	return c.stop(r)
}

// acquire returns a container, making it if needed, and keeps it in use.
func (o *Outputs) acquire(id model.ContainerID) (*container, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.released {
		return nil, replaced()
	}
	c := o.containers[id]
	if c == nil {
		c = newContainer(id, o)
		o.containers[id] = c
	}
	c.uses++
	return c, nil
}

// find returns a container and keeps it in use; nil if there is none.
func (o *Outputs) find(id model.ContainerID) *container {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.containers[id]
	if c != nil {
		c.uses++
	}
	return c
}

// all returns all containers, by ID, and keeps them in use.
func (o *Outputs) all() []*container {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := slices.SortedFunc(maps.Values(o.containers), func(a, b *container) int {
		return strings.Compare(string(a.id), string(b.id))
	})
	for _, c := range out {
		c.uses++
	}
	return out
}

// letGo ends a use of a container; with the last one it is forgotten.
func (o *Outputs) letGo(c *container) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.uses--; c.uses == 0 {
		delete(o.containers, c.id)
	}
}

func (o *Outputs) isReleased() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.released
}
