package output

import (
	"context"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// queueSize is how much may wait for one client, in bytes.
	queueSize = 2 << 20
	// pieceCost is what a piece takes beside its data, in bytes.
	pieceCost = 64
)

// piece is some output as it came.
type piece struct {
	stream string
	data   []byte // shared by all clients: nobody writes to it
}

func (p piece) cost() int { return len(p.data) + pieceCost }

// Client gets a container's output from Follow on. Next belongs to one
// goroutine; the other methods may be called from any.
type Client struct {
	stdout, stderr bool
	joined         time.Time
	leave          func()        // tells the container
	more           chan struct{} // holds one signal: Next should look again

	mu    sync.Mutex
	queue []piece
	size  int           // of the queue, in bytes
	room  chan struct{} // closed when the queue gets shorter; nil: nobody waits
	over  error         // why no more will come; nil while some may
}

func newClient(stdout, stderr bool) *Client {
	return &Client{stdout: stdout, stderr: stderr, leave: func() {}, more: make(chan struct{}, 1)}
}

// Joined returns the time that divides what the client finds in the log from
// what it gets: entries up to it are not in the queue, those after it are.
func (c *Client) Joined() time.Time { return c.joined }

// Next returns the next piece of output and the name of its stream, "stdout" or
// "stderr", waiting for it. The data must not be changed. The error is io.EOF
// when the container's run is over, of kind Unavailable when the client was cut
// off because it did not read or when another process takes over, and ctx's
// error.
func (c *Client) Next(ctx context.Context) (stream string, data []byte, err error) {
	for {
		p, err := c.pop()
		if err != nil || p.stream != "" {
			return p.stream, p.data, err
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		}
	}
}

// pop takes a piece from the queue; an empty one if there is none yet.
func (c *Client) pop() (piece, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return piece{}, c.over
	}
	p := c.queue[0]
	c.queue[0] = piece{}
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil // with the memory of what was taken
	}
	c.size -= p.cost()
	c.makeRoomLocked()
	return p, nil
}

// Close detaches the client and forgets its queue.
func (c *Client) Close() {
	c.cut(context.Canceled)
	c.leave()
}

func (c *Client) wants(stream string) bool {
	return stream == stdoutName && c.stdout || stream == stderrName && c.stderr
}

// push puts a piece into the queue, at need beyond its size. It returns nil, or
// what will be closed when there may be room.
func (c *Client) push(p piece, force bool) (room <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		return nil
	}
	if !force && c.size > 0 && c.size+p.cost() > queueSize {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		return c.room
	}
	c.queue = append(c.queue, p)
	c.size += p.cost()
	c.signal()
	return nil
}

// end says that no more will come after what is in the queue; false if that was
// said before.
func (c *Client) end(why error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		return false
	}
	c.over = why
	c.makeRoomLocked()
	c.signal()
	return true
}

// cut ends the client at once: what is in its queue is dropped.
func (c *Client) cut(why error) {
	c.end(why)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue, c.size = nil, 0
}

func (c *Client) makeRoomLocked() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

func (c *Client) signal() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// offer puts a piece into the clients' queues. Those that leave theirs full for
// too long are cut off, all at the same time: the container stands still
// meanwhile, and many who do not read must not hold it up longer than one. When
// stopped is closed nobody is waited for; the queues then take the piece beyond
// their size, since it is the last.
func offer(targets []*Client, p piece, stopped <-chan struct{}, patience time.Duration) {
	var full []*Client
	for _, c := range targets {
		if c.push(p, false) != nil {
			full = append(full, c)
		}
	}
	if len(full) == 0 {
		return
	}
	ctx, over := context.WithTimeout(context.Background(), patience)
	defer over()
	for _, c := range full {
		c.insist(ctx, p, stopped)
	}
}

// insist waits until the client takes a piece, or cuts it off when ctx is over.
func (c *Client) insist(ctx context.Context, p piece, stopped <-chan struct{}) {
	for {
		room := c.push(p, false)
		if room == nil {
			return
		}
		select {
		case <-room:
		case <-stopped:
			c.push(p, true)
			return
		case <-ctx.Done():
			if c.push(p, false) != nil { // it has not read while another was waited for
				c.cut(model.Errorf(model.Unavailable, "output was not read fast enough"))
			}
			return
		}
	}
}
