package containers

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/model"
)

// fakeOutputs reads the pipes of the fake runtime.
type fakeOutputs struct {
	away    int // so many calls of Open fail
	runtime *fakeRuntime
	logs    *fakeLogs

	mu      sync.Mutex
	open    map[model.ContainerID]*sync.WaitGroup // its readers
	outputs map[model.ContainerID]model.Output    // what was opened last
	clients map[*fakeClient]bool
	kept    []model.ContainerID
}

func newFakeOutputs(r *fakeRuntime, l *fakeLogs) *fakeOutputs {
	return &fakeOutputs{runtime: r, logs: l, open: map[model.ContainerID]*sync.WaitGroup{}, clients: map[*fakeClient]bool{},
		outputs: map[model.ContainerID]model.Output{}}
}

func (o *fakeOutputs) Open(_ context.Context, out model.Output) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away > 0 {
		o.away--
		return model.Errorf(model.Unavailable, "the keeper is being started again")
	}
	readers := &sync.WaitGroup{}
	for stream, from := range map[string]io.Reader{streams.Stdout: o.runtime.pipe(out.Pipes.Stdout), streams.Stderr: o.runtime.pipe(out.Pipes.Stderr)} {
		if from != nil {
			readers.Go(func() { o.drain(out, stream, from) })
		}
	}
	o.open[out.Container], o.outputs[out.Container] = readers, out
	return nil
}

// attributes returns what is noted with a container's lines.
func (o *fakeOutputs) attributes(id model.ContainerID) map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.outputs[id].Attributes
}

func (o *fakeOutputs) drain(out model.Output, stream string, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			o.pass(out, stream, bytes.Clone(buf[:n]))
		}
		if err != nil {
			return
		}
	}
}

func (o *fakeOutputs) pass(out model.Output, stream string, data []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if out.Log != "" {
		o.logs.append(out.Log, LogEntry{Stream: stream, Time: time.Now(), Text: data, Attributes: out.Attributes})
	}
	for c := range o.clients {
		if c.id == out.Container && (stream == streams.Stdout && c.stdout || stream == streams.Stderr && c.stderr) {
			c.pieces = append(c.pieces, piece{stream, data})
			c.wake()
		}
	}
}

func (o *fakeOutputs) Begun(context.Context, model.ContainerID) error { return nil }

func (o *fakeOutputs) Drain(_ context.Context, id model.ContainerID) error {
	o.mu.Lock()
	readers := o.open[id]
	o.mu.Unlock()
	if readers != nil {
		readers.Wait()
	}
	return nil
}

func (o *fakeOutputs) Close(_ context.Context, id model.ContainerID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, id)
	for c := range o.clients {
		if c.id == id {
			c.over = true
			c.wake()
		}
	}
	o.logs.wake()
	return nil
}

func (o *fakeOutputs) Keep(_ context.Context, running []model.ContainerID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = running
	return nil
}

func (o *fakeOutputs) Follow(_ context.Context, id model.ContainerID, stdout, stderr bool) (OutputReader, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := &fakeClient{of: o, id: id, stdout: stdout, stderr: stderr, joined: time.Now(), changed: make(chan struct{})}
	o.clients[c] = true
	return c, nil
}

// count tells how many clients a container has.
func (o *fakeOutputs) count(id model.ContainerID) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.clients {
		if c.id == id {
			n++
		}
	}
	return n
}

// piece is some output as it came.
type piece struct {
	stream string
	data   []byte
}

// fakeClient is an OutputReader. Its fields are guarded by the outputs' lock.
type fakeClient struct {
	of             *fakeOutputs
	id             model.ContainerID
	stdout, stderr bool
	joined         time.Time
	pieces         []piece
	over           bool
	changed        chan struct{}
}

func (c *fakeClient) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *fakeClient) Joined() time.Time { return c.joined }

func (c *fakeClient) Next(ctx context.Context) (string, []byte, error) {
	for {
		c.of.mu.Lock()
		changed, over := c.changed, c.over
		if len(c.pieces) > 0 {
			p := c.pieces[0]
			c.pieces = c.pieces[1:]
			c.of.mu.Unlock()
			return p.stream, p.data, nil
		}
		c.of.mu.Unlock()
		if over {
			return "", nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}

func (c *fakeClient) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	delete(c.of.clients, c)
	return nil
}
