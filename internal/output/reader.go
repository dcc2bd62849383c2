package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/remotelog"
)

const (
	// pipeSize is how much a container may print before it must wait for us, in
	// bytes: F_SETPIPE_SZ, fcntl(2).
	pipeSize = 1 << 20
	// lull is how long a reader stays away from a stream of which it gets many
	// small pieces, so that it gets few large ones: each piece costs a wake-up
	// and writes. The FIFO holds what a container prints in that time.
	lull = time.Millisecond
	// smallPiece is what counts as small, in bytes.
	smallPiece = 16 << 10
)

// chunk is memory to read into.
type chunk [64 << 10]byte

// stream is our end of one FIFO. Its reader holds no memory while it waits.
type stream struct {
	name string
	file *os.File
	raw  syscall.RawConn

	// The rest belongs to the reader.
	attempt func(fd uintptr) bool // made once: it would escape on every read
	pool    *sync.Pool
	chunk   *chunk // nil between reads
	n       int
	err     error
	at      time.Time // when something was read last
	targets []*Client // kept for its memory
}

func newStream(name string, file *os.File) (*stream, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &stream{name: name, file: file, raw: raw}
	s.attempt = s.tryRead
	return s, nil
}

// openStreams opens our ends of FIFOs.
func openStreams(p model.Pipes) ([]*stream, error) {
	var out []*stream
	for _, one := range []struct{ name, path string }{{stdoutName, p.Stdout}, {stderrName, p.Stderr}} {
		if one.path == "" {
			continue
		}
		s, err := openStream(one.name, one.path)
		if err != nil {
			closeStreams(out)
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func openStream(name, path string) (*stream, error) {
	// Without O_NONBLOCK open would wait for a writer. It also makes the file one
	// of the poller's, so that a deadline wakes its reader.
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().Type() != os.ModeNamedPipe {
		err = fmt.Errorf("%s is no FIFO", path)
	}
	var s *stream
	if err == nil {
		s, err = newStream(name, file)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s.raw.Control(func(fd uintptr) { //nolint:errcheck // the file is open
		unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) //nolint:errcheck // a smaller one does its work, too
	})
	return s, nil
}

// next waits for output and reads some: n bytes of chunk, until giveBack. The
// error is io.EOF at the end of the stream.
func (s *stream) next(pool *sync.Pool) error {
	s.pool, s.n, s.err = pool, 0, nil
	if err := s.raw.Read(s.attempt); err != nil {
		return err
	}
	return s.err
}

// tryRead reads what is there; false if nothing is.
func (s *stream) tryRead(fd uintptr) bool {
	s.chunk, _ = s.pool.Get().(*chunk)
	for {
		n, err := unix.Read(int(fd), s.chunk[:])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			s.giveBack(s.pool)
			return false
		case err == nil && n == 0:
			err = io.EOF
		}
		s.n, s.err = max(n, 0), err
		return true
	}
}

func (s *stream) giveBack(pool *sync.Pool) {
	if s.chunk != nil {
		pool.Put(s.chunk)
		s.chunk = nil
	}
}

// rest lets output gather if it comes in small pieces and fast.
func (s *stream) rest() {
	now := time.Now()
	if s.n < smallPiece && now.Sub(s.at) < lull {
		time.Sleep(lull)
		now = now.Add(lull)
	}
	s.at = now
}

// run is one life of a container's process, as far as its output goes.
type run struct {
	output  model.Output // its Attributes are guarded by container.mu
	streams []*stream
	log     *lineLog       // guarded by container.mu
	remote  *remotelog.Log // where else output is sent; nil: nowhere

	begun  bool       // guarded by container.turn
	guards []*os.File // guarded by container.turn

	reading atomic.Int32  // readers that are at work
	drained chan struct{} // closed when none is
	stopped chan struct{} // closed when they shall stop
	ended   chan struct{} // closed when the process has ended, or stopped is closed
	ending  sync.Once     // closes ended
}

func newRun(o model.Output, streams []*stream) *run {
	return &run{output: o, streams: streams, drained: make(chan struct{}), stopped: make(chan struct{}), ended: make(chan struct{})}
}

// reads tells whether the run reads these FIFOs. One that is gone by now was its
// own.
func (r *run) reads(p model.Pipes) bool {
	if r.output.Pipes != p {
		return false
	}
	for _, s := range r.streams {
		ours, err := s.file.Stat()
		if err != nil {
			return false
		}
		there, err := os.Stat(r.path(s.name))
		if err == nil && !os.SameFile(ours, there) {
			return false
		}
	}
	return true
}

func (r *run) path(stream string) string {
	if stream == stderrName {
		return r.output.Pipes.Stderr
	}
	return r.output.Pipes.Stdout
}

// guard opens writers that never write: a reader would else see the end of
// output before the process has opened its ends.
func (r *run) guard() error {
	for _, s := range r.streams {
		f, err := os.OpenFile(r.path(s.name), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			r.closeGuards()
			return err
		}
		r.guards = append(r.guards, f)
	}
	return nil
}

// unguard lets the end of output be seen.
func (r *run) unguard() {
	r.begun = true
	r.closeGuards()
}

func (r *run) closeGuards() {
	for _, f := range r.guards {
		f.Close() //nolint:errcheck // nothing was written
	}
	r.guards = nil
}

// await returns when returned is closed, at the latest after grace; false if the
// run was stopped.
func (r *run) await(returned <-chan struct{}, grace time.Duration) bool {
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-returned:
	case <-patience.C:
	case <-r.stopped:
		return false
	}
	return true
}

// halt returns when all readers have stopped. What they had read is in the log
// and in the queues.
func (r *run) halt() {
	close(r.stopped)
	r.end()
	for _, s := range r.streams {
		s.file.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a FIFO takes deadlines
	}
	<-r.drained
}

// end says that the process has ended: clients that do not read hold nobody up any
// more.
func (r *run) end() { r.ending.Do(func() { close(r.ended) }) }

func (r *run) closeFiles() { closeStreams(r.streams) }

func closeStreams(streams []*stream) {
	for _, s := range streams {
		s.file.Close() //nolint:errcheck // nothing was written
	}
}

// takeFiles gives the files away. Those of streams that have ended will say so
// again.
func (r *run) takeFiles() map[string]*os.File {
	out := map[string]*os.File{}
	for _, s := range r.streams {
		out[s.name] = s.file
	}
	return out
}
