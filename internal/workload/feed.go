package workload

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
	stdoutName = "stdout"
	stderrName = "stderr"

	// feedQueue is how many pieces of at most feedRead bytes may wait for the client
	// of an exec: 2 MiB. Then the process waits too.
	feedQueue = 64
	feedRead  = 32 << 10
)

// piece is some output as it came.
type piece struct {
	stream string
	data   []byte
}

// feed passes an exec's output on to the one client that it may have. It ends
// with the daemon: the client does too.
type feed struct {
	pieces  chan piece
	drained chan struct{} // closed when all was read
	passed  atomic.Int64  // pieces so far

	left     chan struct{} // closed by leave: what comes is thrown away
	leaving  sync.Once
	finished chan struct{} // closed by finish
}

func newFeed() *feed {
	return &feed{
		pieces: make(chan piece, feedQueue), drained: make(chan struct{}),
		left: make(chan struct{}), finished: make(chan struct{}),
	}
}

// read begins to read a process's output.
func (f *feed) read(work *sync.WaitGroup, s *model.Streams) {
	var readers sync.WaitGroup
	for name, from := range map[string]io.Reader{stdoutName: s.Stdout, stderrName: s.Stderr} {
		if from != nil {
			readers.Go(func() { f.drain(name, from) })
		}
	}
	work.Go(func() {
		readers.Wait()
		close(f.drained)
	})
}

func (f *feed) drain(stream string, from io.Reader) {
	buf := make([]byte, feedRead)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case f.pieces <- piece{stream, bytes.Clone(buf[:n])}:
				f.passed.Add(1)
			case <-f.left:
				f.passed.Add(1)
			}
		}
		if err != nil {
			return
		}
	}
}

// await waits until all output of an ended process was read. Somebody outside may
// hold the other end for ever: once nothing has come for limit, that is the end
// too, and await returns false.
func (f *feed) await(limit time.Duration) bool {
	tick := time.NewTicker(limit)
	defer tick.Stop()
	seen := int64(-1)
	for {
		select {
		case <-f.drained:
			return true
		case <-tick.C:
			if now := f.passed.Load(); now != seen {
				seen = now
				continue
			}
			return false
		}
	}
}

// leave says that the client reads no more.
func (f *feed) leave() { f.leaving.Do(func() { close(f.left) }) }

// finish says that no more will come.
func (f *feed) finish() { close(f.finished) }

// Next implements source.
func (f *feed) Next(ctx context.Context) (string, []byte, error) {
	select {
	case p := <-f.pieces:
		return p.stream, p.data, nil
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	case <-f.finished:
	}
	select {
	case p := <-f.pieces:
		return p.stream, p.data, nil
	default:
		return "", nil, io.EOF
	}
}
