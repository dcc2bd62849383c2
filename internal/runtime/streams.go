package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// closeStdinTimeout bounds the request that tells a shim that input has ended.
const closeStdinTimeout = 10 * time.Second

// procKey names a process: a container's first, or one of its execs.
type procKey struct {
	container model.ContainerID
	exec      string // "" for the first
}

// fifos are the paths of a process's FIFOs (fifo(7)); "" where it has none.
type fifos struct {
	stdin, stdout, stderr string
	tty                   bool
}

// guards are FIFO ends that we hold open and never use. A reader would see the
// end of output before the shim has opened its end, and a writer would find
// nobody to write to; as long as a guard is open neither happens.
type guards struct {
	mu      sync.Mutex
	writers []*os.File // until the shim has opened stdout and stderr
	reader  *os.File   // until the process is gone: the shim opens stdin late
	started chan struct{}
	once    sync.Once
}

// begun closes the writers: the shim has its own ends now, so that end of output
// is what the shim says.
func (g *guards) begun() {
	g.once.Do(func() { close(g.started) })
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.writers {
		f.Close() //nolint:errcheck // nothing was written
	}
	g.writers = nil
}

func (g *guards) close() {
	g.begun()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reader != nil {
		g.reader.Close() //nolint:errcheck // nothing was written
		g.reader = nil
	}
}

// streams knows the FIFOs of all processes, and holds the ends that must be open.
type streams struct {
	root   string // of the folders of containers
	client *containerd.Client
	life   *life
	log    *slog.Logger
	holder fifoHolder // of what an earlier daemon's processes print

	mu   sync.Mutex
	held map[procKey]*guards // of processes that are
}

// dir is where the FIFOs of a container and its execs lie.
func (s *streams) dir(id model.ContainerID) string {
	return filepath.Join(s.root, string(id))
}

// paths computes the names of a process's FIFOs, so that a restarted daemon
// knows them.
func (s *streams) paths(key procKey, o model.StreamOptions) fifos {
	name := key.exec
	if name == "" {
		name = "init"
	}
	base := filepath.Join(s.dir(key.container), name)
	out := fifos{stdout: base + "-stdout", tty: o.TTY}
	if o.Stdin {
		out.stdin = base + "-stdin"
	}
	if !o.TTY {
		out.stderr = base + "-stderr"
	}
	return out
}

// create makes the FIFOs anew. What a crash left under the same name is removed
// first: somebody may still hold its other end.
func (f fifos) create() error {
	if err := os.MkdirAll(filepath.Dir(f.stdout), 0o700); err != nil {
		return fmt.Errorf("streams: %w", err)
	}
	for _, path := range f.all() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("streams: %w", err)
		}
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return fmt.Errorf("streams: make %s: %w", path, err)
		}
	}
	return nil
}

func (f fifos) remove() {
	for _, path := range f.all() {
		os.Remove(path) //nolint:errcheck // Delete removes the directory in any case
	}
}

func (f fifos) all() []string {
	var out []string
	for _, path := range []string{f.stdin, f.stdout, f.stderr} {
		if path != "" {
			out = append(out, path)
		}
	}
	return out
}

// pipes returns where output comes.
func (f fifos) pipes() model.Pipes { return model.Pipes{Stdout: f.stdout, Stderr: f.stderr} }

// openStreams opens our ends of an exec's FIFOs. End of output is not seen before
// guards.begun.
func (s *streams) openStreams(key procKey, f fifos) (*model.Streams, *guards, error) {
	out := &model.Streams{}
	in, g, err := s.openInput(key, f)
	if err != nil {
		return nil, nil, err
	}
	out.Stdin = in
	fail := func(err error) (*model.Streams, *guards, error) {
		closeStreams(out)
		g.close()
		return nil, nil, fmt.Errorf("streams: %w", err)
	}
	for _, one := range []struct {
		path string
		to   *io.ReadCloser
	}{{f.stdout, &out.Stdout}, {f.stderr, &out.Stderr}} {
		if one.path == "" {
			continue
		}
		end, err := openFIFO(one.path, os.O_RDONLY)
		if err != nil {
			return fail(err)
		}
		*one.to = end
		guard, err := openFIFO(one.path, os.O_WRONLY)
		if err != nil {
			return fail(err)
		}
		g.writers = append(g.writers, guard)
	}
	return out, g, nil
}

// openInput opens our end of a process's input; nil if it has none.
func (s *streams) openInput(key procKey, f fifos) (io.WriteCloser, *guards, error) {
	g := &guards{started: make(chan struct{})}
	if f.stdin == "" {
		return nil, g, nil
	}
	var err error
	if g.reader, err = openFIFO(f.stdin, os.O_RDONLY); err != nil {
		return nil, nil, fmt.Errorf("streams: %w", err)
	}
	end, err := openFIFO(f.stdin, os.O_WRONLY)
	if err != nil {
		g.close()
		return nil, nil, fmt.Errorf("streams: %w", err)
	}
	return &stdin{File: end, streams: s, key: key, started: g.started}, g, nil
}

func closeInput(in io.WriteCloser) {
	if in != nil {
		in.Close() //nolint:errcheck // nothing was written
	}
}

// openFIFO opens one end without waiting for the other; the file is served by
// the poller, so Close wakes a blocked Read or Write.
func openFIFO(path string, flag int) (*os.File, error) {
	return os.OpenFile(path, flag|unix.O_NONBLOCK, 0)
}

func closeStreams(s *model.Streams) {
	closeInput(s.Stdin)
	for _, c := range []io.Closer{s.Stdout, s.Stderr} {
		if c != nil {
			c.Close() //nolint:errcheck // nothing was written
		}
	}
}

// stdin is our end of a process's input.
type stdin struct {
	*os.File
	streams *streams
	key     procKey
	started <-chan struct{}
	once    sync.Once
	err     error
}

// Close ends the process's input. The shim holds a writing end of its own, lest
// our death be taken for the end; so it must be told, and can be told only once
// the process has started.
func (s *stdin) Close() error {
	s.once.Do(func() {
		s.err = s.File.Close()
		select {
		case <-s.started:
			s.streams.endInput(s.key)
		default:
			s.streams.life.spawn(func() {
				<-s.started // closed by start, deletion or Close, whichever comes first
				s.streams.endInput(s.key)
			})
		}
	})
	return s.err
}

// endInput tells the shim. A process that has ended has no input to close.
func (s *streams) endInput(key procKey) {
	ctx, cancel := context.WithTimeout(s.client.Scope(context.Background()), closeStdinTimeout)
	defer cancel()
	_, err := s.client.Tasks().CloseIO(ctx, &tasks.CloseIORequest{
		ContainerID: string(key.container), ExecID: key.exec, Stdin: true})
	if err != nil && !containerd.IsNotFound(err) {
		s.log.Debug("close stdin", "container", model.Short(key.container), "op", "runtime.stdin", "err", err)
	}
}

// keep remembers the guards of a process.
func (s *streams) keep(key procKey, g *guards) {
	s.mu.Lock()
	old := s.held[key]
	s.held[key] = g
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// begun notes that the shim has opened its ends of a process's FIFOs.
func (s *streams) begun(key procKey) {
	s.mu.Lock()
	g := s.held[key]
	s.mu.Unlock()
	if g != nil {
		g.begun()
	}
}

// forget closes what keep remembered.
func (s *streams) forget(key procKey) {
	s.mu.Lock()
	g := s.held[key]
	delete(s.held, key)
	s.mu.Unlock()
	if g != nil {
		g.close()
	}
}

// forgetAll does so for a container and all its execs.
func (s *streams) forgetAll(id model.ContainerID) {
	s.mu.Lock()
	var all []*guards
	for key, g := range s.held {
		if key.container == id {
			all = append(all, g)
			delete(s.held, key)
		}
	}
	s.mu.Unlock()
	s.holder.close(id)
	for _, g := range all {
		g.close()
	}
}

// closeAll closes what keep remembered, of all processes.
func (s *streams) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, g := range s.held {
		g.close()
		delete(s.held, key)
	}
}

// sweep removes the FIFOs of all containers but the given ones.
func (s *streams) sweep(owned map[string]bool) error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !owned[e.Name()] {
			s.holder.close(model.ContainerID(e.Name()))
			failed = append(failed, os.RemoveAll(filepath.Join(s.root, e.Name())))
		}
	}
	return errors.Join(failed...)
}

// unblockShims keeps the ends open for as long as a shim would wait, from now on: what
// containerd was about when the last daemon died may come to that point yet.
func (s *streams) unblockShims() {
	s.holder.open(s.root)
	s.life.spawn(func() {
		defer s.holder.closeAll()
		select {
		case <-s.life.done:
		case <-time.After(shimPatience):
		}
	})
}
