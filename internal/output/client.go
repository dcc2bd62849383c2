package output

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// queueSize is how much may wait for one client, in bytes.
	queueSize = 2 << 20
	// pieceCost is what a piece takes beside its data, in bytes.
	pieceCost = 64
	// lastSize is how much may wait for a client once the process has ended: also all
	// that was in both FIFOs and in the hands of their readers then, in bytes.
	lastSize = queueSize + 2*(pipeSize+len(chunk{})) + 64<<10
	// noLimit is for pieces that are no longer than a character.
	noLimit = math.MaxInt
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

// push puts a piece into the queue if that does not get longer than limit bytes. It
// returns nil, or what will be closed when there may be room.
func (c *Client) push(p piece, limit int) (room <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over != nil {
		return nil
	}
	if c.size > 0 && c.size > limit-p.cost() {
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
// ended is closed nobody is waited for: what is still to come is little, and the
// queues take it beyond their size.
func offer(targets []*Client, p piece, ended <-chan struct{}, patience time.Duration) {
	var full []*Client
	for _, c := range targets {
		if c.push(p, queueSize) != nil {
			full = append(full, c)
		}
	}
	if len(full) == 0 {
		return
	}
	ctx, over := context.WithTimeout(context.Background(), patience)
	defer over()
	for _, c := range full {
		c.insist(ctx, p, ended)
	}
}

// insist waits until the client takes a piece, or cuts it off when ctx is over.
func (c *Client) insist(ctx context.Context, p piece, ended <-chan struct{}) {
	for {
		room := c.push(p, queueSize)
		if room == nil {
			return
		}
		select {
		case <-room:
		case <-ended:
			c.pushOrCut(p, lastSize)
			return
		case <-ctx.Done():
			c.pushOrCut(p, queueSize) // it may have read while another was waited for
			return
		}
	}
}

// pushOrCut puts a piece into the queue, or cuts the client off.
func (c *Client) pushOrCut(p piece, limit int) {
	if c.push(p, limit) != nil {
		c.cut(model.Errorf(model.Unavailable, "output was not read fast enough"))
	}
}
