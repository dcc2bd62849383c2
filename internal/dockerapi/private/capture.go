package private

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/bpf"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/inspect"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/pcapng"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Hear begins to hear frames at taps: those that program says, of each up to snapLen bytes.
// The caller closes what it returns.
type Hear func(ctx context.Context, taps []facts.Tap, program func([]facts.Place) ([]bpf.Instruction, error), snapLen int) (Hearing, error)

// Hearing is what is heard at some taps.
type Hearing interface {
	Frames() <-chan facts.Frame // closed at its end
	// Counts is what was dropped so far, for as long as it is not closed.
	Counts() []facts.CaptureCounts
	Close()
}

// maxCaptures is how many captures there are at a time: each holds megabytes in the kernel.
const maxCaptures = 4

// newTaps is how often it is looked whether what is captured has other interfaces by now.
const newTaps = time.Second

// capture answers with the frames of a container or network as pcapng, until the request's
// body ends, or so many frames or so long a time have passed.
func (d *server) capture(w http.ResponseWriter, r *http.Request) {
	c, err := d.captureOf(r)
	if err != nil {
		d.refuse(w, r, err)
		return
	}
	control := http.NewResponseController(w)
	if err := control.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		d.refuse(w, r, err)
		return
	}
	_ = control.SetReadDeadline(time.Time{}) // the body ends when the user has seen enough
	w.Header().Set("Trailer", privateapi.TrailerFrames+", "+privateapi.TrailerDropped)
	d.captures.serve(w, r, func(ctx context.Context, out *stream) error {
		ctx, stop := context.WithTimeout(ctx, c.duration)
		defer stop()
		go func() {
			_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1)) // it ends with the request, too
			stop()
		}()
		err := c.run(ctx, out)
		w.Header().Set(privateapi.TrailerFrames, strconv.FormatUint(c.frames, 10))
		w.Header().Set(privateapi.TrailerDropped, strconv.FormatUint(c.dropped(), 10))
		return err
	})
}

// capture is one that is under way.
type capture struct {
	server         *server
	target, filter string
	snapLen        int
	count          uint64 // 0: no bound
	duration       time.Duration

	what    inspect.Capture
	hearing Hearing
	file    *pcapng.Writer
	began   time.Time
	taps    []tapState
	frames  uint64 // written
}

// tapState is an interface of the file.
type tapState struct {
	facts.Tap
	received, dropped uint64
}

// captureOf reads a request.
func (d *server) captureOf(r *http.Request) (*capture, error) {
	q := r.URL.Query()
	c := &capture{server: d, target: q.Get("target"), filter: q.Get("filter"), snapLen: privateapi.DefaultSnapLen}
	if d.Hear == nil {
		return nil, model.Errorf(model.NotImplemented, "frames are not captured here")
	}
	count, err := number(r, "count", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	snapLen, err := number(r, "snaplen", privateapi.MaxSnapLen)
	if err != nil {
		return nil, err
	}
	if snapLen > 0 {
		c.snapLen = snapLen
	}
	c.count = uint64(count)
	if c.duration, err = duration(r, "duration", privateapi.MaxCapture, time.Millisecond, privateapi.MaxCapture); err != nil {
		return nil, err
	}
	c.what, err = d.reader.Capture(r.Context(), c.target, c.filter)
	return c, err
}

// run writes the file.
func (c *capture) run(ctx context.Context, out *stream) (err error) {
	if err := c.hear(ctx, c.what.Taps); err != nil {
		return err
	}
	defer func() { c.hearing.Close() }()
	out.Header().Set("Content-Type", "application/x-pcapng")
	if c.file, err = pcapng.Begin(out, "linkspan "+c.server.Daemon.Version, "Linux"); err != nil {
		return err
	}
	c.began = time.Now()
	if err := c.describe(c.what.Taps); err != nil {
		return err
	}
	again := time.NewTicker(newTaps)
	defer again.Stop()
	for c.count == 0 || c.frames < c.count {
		select {
		case <-ctx.Done():
			return c.finish()
		case <-again.C:
			if err := c.follow(ctx); err != nil {
				return err
			}
		case f := <-c.hearing.Frames():
			if err := c.write(f); err != nil {
				return err
			}
		}
	}
	return c.finish()
}

func (c *capture) hear(ctx context.Context, taps []facts.Tap) (err error) {
	program := func(places []facts.Place) ([]bpf.Instruction, error) { return c.what.Program(places, c.snapLen) }
	c.hearing, err = c.server.Hear(ctx, taps, program, c.snapLen)
	return err
}

// describe adds taps to the file as interfaces: the number of one is that of its tap.
func (c *capture) describe(taps []facts.Tap) error {
	for _, t := range taps {
		name := t.Link
		if t.Namespace != "" {
			name = t.Namespace + "/" + t.Link
		}
		c.taps = append(c.taps, tapState{Tap: t})
		if _, err := c.file.Interface(pcapng.Interface{Name: name, Description: t.Description, Filter: c.filter, SnapLen: c.snapLen}); err != nil {
			return err
		}
	}
	return nil
}

// follow goes on with other taps if there are others by now: a container that was started
// anew, or has joined a network. Meanwhile some frames may be missed. Where nothing is left
// to be heard it waits for what comes.
func (c *capture) follow(ctx context.Context) error {
	now, err := c.server.reader.Capture(ctx, c.target, c.filter)
	if err != nil || slices.Equal(now.Taps, c.what.Taps) {
		return nil
	}
	before, old := c.what, c.hearing
	c.noteDrops(old)
	c.what = now
	if err := c.hear(ctx, now.Taps); err != nil {
		c.what, c.hearing = before, old
		return nil // it is between two starts: it is looked again
	}
	old.Close()
	return c.describe(now.Taps)
}

// write adds a frame.
func (c *capture) write(f facts.Frame) error {
	number := len(c.taps) - len(c.what.Taps) + f.Tap
	direction := pcapng.Inbound
	if f.Outgoing {
		direction = pcapng.Outbound
	}
	c.taps[number].received++
	c.frames++
	return c.file.Packet(pcapng.Packet{Interface: number, At: f.At, Data: f.Data, Length: f.Length, Direction: direction})
}

// finish adds what was counted. What a namespace has dropped is not known by interface: it
// stands at its first one.
func (c *capture) finish() error {
	c.noteDrops(c.hearing)
	now := time.Now()
	for i, t := range c.taps {
		if err := c.file.Statistics(pcapng.Statistics{Interface: i, Start: c.began, End: now, Received: t.received, Dropped: t.dropped}); err != nil {
			return err
		}
	}
	return nil
}

// noteDrops notes what was dropped so far by what hears the latest taps.
func (c *capture) noteDrops(h Hearing) {
	first := len(c.taps) - len(c.what.Taps)
	for _, n := range h.Counts() {
		c.taps[first+n.Tap].dropped = n.Dropped
	}
}

func (c *capture) dropped() (sum uint64) {
	for _, t := range c.taps {
		sum += t.dropped
	}
	return sum
}
