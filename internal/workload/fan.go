package workload

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// clientQueue is how many pieces of at most readSize bytes may wait for one
	// client: 2 MiB.
	clientQueue = 64
	readSize    = 32 << 10
	// clientPatience is how long a container's output waits for a client whose
	// queue is full before the client is cut off.
	clientPatience = 10 * time.Second
)

const (
	stdoutName = "stdout"
	stderrName = "stderr"
)

// fan passes a container's output on to the clients attached to it, and holds
// the end of its input. It outlives runs: `docker run` attaches before start.
type fan struct {
	patience time.Duration

	mu      sync.Mutex
	clients map[*client]bool
	stdin   io.WriteCloser
	changed chan struct{} // closed when stdin is replaced
}

func newFan() *fan {
	return &fan{patience: clientPatience, clients: map[*client]bool{}, changed: make(chan struct{})}
}

// piece is some output as it came.
type piece struct {
	stream string
	data   []byte
}

// client is one reader of the output.
type client struct {
	stdout, stderr bool

	queue    chan piece
	finished chan struct{} // closed once: no more will come
	cut      chan struct{} // closed once: too slow
}

func (c *client) wants(stream string) bool {
	return stream == stdoutName && c.stdout || stream == stderrName && c.stderr
}

// join adds a client and returns the time after which output reaches it: what
// the log has until then is all there was before.
func (f *fan) join(c *client) time.Time {
	c.queue = make(chan piece, clientQueue)
	c.finished, c.cut = make(chan struct{}), make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients[c] = true
	return time.Now()
}

func (f *fan) leave(c *client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.clients, c)
}

// end tells all clients that no more output will come, and drops the input.
func (f *fan) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.clients {
		close(c.finished)
	}
	clear(f.clients)
	f.stdin = nil
}

// write takes a piece of output: into the log, then to the clients. The log is
// written with mu held, so that a client that joins finds every piece either in
// the log or in its queue, and none in both. data may be used again afterwards.
func (f *fan) write(stream string, data []byte, log *lineLog) {
	f.mu.Lock()
	log.write(stream, time.Now(), data)
	targets := make([]*client, 0, len(f.clients))
	for c := range f.clients {
		if c.wants(stream) {
			targets = append(targets, c)
		}
	}
	f.mu.Unlock()
	if len(targets) == 0 {
		return
	}
	f.offer(targets, piece{stream, bytes.Clone(data)})
}

// offer puts a piece into the clients' queues. Those that leave theirs full for
// too long are cut off, all at the same time: the container stands still
// meanwhile, and many who do not read must not hold it up longer than one.
func (f *fan) offer(targets []*client, p piece) {
	var full []*client
	for _, c := range targets {
		select {
		case c.queue <- p:
		case <-c.cut:
		default:
			full = append(full, c)
		}
	}
	if len(full) == 0 {
		return
	}
	patience, over := context.WithTimeout(context.Background(), f.patience)
	defer over()
	for _, c := range full {
		select {
		case c.queue <- p:
		case <-c.cut:
		case <-c.finished:
		case <-patience.Done():
			select {
			case c.queue <- p: // it has read while we waited for another
			default:
				f.drop(c)
			}
		}
	}
}

// drop cuts a client off. Both streams may come here with the same one.
func (f *fan) drop(c *client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clients[c] {
		delete(f.clients, c)
		close(c.cut)
	}
}

// deliver passes the queue on to yield until output ends, yield fails, or ctx
// ends, which is no error: the client went away.
func (c *client) deliver(ctx context.Context, yield func(piece) error) error {
	for {
		select {
		case p := <-c.queue:
			if err := yield(p); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-c.cut:
			return model.Errorf(model.Unavailable, "output was not read fast enough")
		case <-c.finished:
			for {
				select {
				case p := <-c.queue:
					if err := yield(p); err != nil {
						return err
					}
				default:
					return nil
				}
			}
		}
	}
}

// setStdin gives the fan the input of a new run; nil if there is none.
func (f *fan) setStdin(w io.WriteCloser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stdin = w
	close(f.changed)
	f.changed = make(chan struct{})
}

// input waits until there is an input and returns it.
func (f *fan) input(ctx context.Context) (io.WriteCloser, error) {
	for {
		f.mu.Lock()
		w, changed := f.stdin, f.changed
		f.mu.Unlock()
		if w != nil {
			return w, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
