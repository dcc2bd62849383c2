package streams

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// queueLength is how many pieces of at most readSize bytes may wait for the client
	// of an exec: 2 MiB. Then the process waits too.
	queueLength = 64
	readSize    = 32 << 10
)

// piece is some output as it came.
type piece struct {
	stream string
	data   []byte
}

// Merge passes an exec's output on to the one client that it may have. It ends
// with the daemon: the client does too.
type Merge struct {
	pieces  chan piece
	drained chan struct{} // closed when all was read
	passed  atomic.Int64  // pieces so far

	left     chan struct{} // closed by Leave: what comes is thrown away
	leaving  sync.Once
	finished chan struct{} // closed by Finish
}

// NewMerge returns one that has read nothing yet.
func NewMerge() *Merge {
	return &Merge{
		pieces: make(chan piece, queueLength), drained: make(chan struct{}),
		left: make(chan struct{}), finished: make(chan struct{}),
	}
}

// Read begins to read a process's output.
func (m *Merge) Read(work *sync.WaitGroup, s *model.Streams) {
	var readers sync.WaitGroup
	for name, from := range map[string]io.Reader{Stdout: s.Stdout, Stderr: s.Stderr} {
		if from != nil {
			readers.Go(func() { m.drain(name, from) })
		}
	}
	work.Go(func() {
		readers.Wait()
		close(m.drained)
	})
}

func (m *Merge) drain(stream string, from io.Reader) {
	buf := make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case m.pieces <- piece{stream, bytes.Clone(buf[:n])}:
				m.passed.Add(1)
			case <-m.left:
				m.passed.Add(1)
			}
		}
		if err != nil {
			return
		}
	}
}

// Await waits until all output of an ended process was read. Somebody outside may
// hold the other end for ever: once nothing has come for limit, that is the end
// too, and Await returns false.
func (m *Merge) Await(limit time.Duration) bool {
	tick := time.NewTicker(limit)
	defer tick.Stop()
	seen := int64(-1)
	for {
		select {
		case <-m.drained:
			return true
		case <-tick.C:
			if now := m.passed.Load(); now != seen {
				seen = now
				continue
			}
			return false
		}
	}
}

// Leave says that the client reads no more.
func (m *Merge) Leave() { m.leaving.Do(func() { close(m.left) }) }

// Finish says that no more will come.
func (m *Merge) Finish() { close(m.finished) }

// Next implements Source.
func (m *Merge) Next(ctx context.Context) (string, []byte, error) {
	select {
	case p := <-m.pieces:
		return p.stream, p.data, nil
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	case <-m.finished:
	}
	select {
	case p := <-m.pieces:
		return p.stream, p.data, nil
	default:
		return "", nil, io.EOF
	}
}
