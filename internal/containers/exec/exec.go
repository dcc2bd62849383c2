// Package exec is `docker exec`: further processes in containers that run, from their
// creation until what is known of their end is forgotten.
//
// It promises that an exec is started once, that its end is recorded before its clients
// see the end of its output, and that execs which nobody starts or asks for do not fill
// the memory. It must not change containers: it knows them by the interface Container.
//
//	CreateExec ─▶ StartExec ─▶ process runs ─▶ output drained ─▶ exit recorded ─▶ forgotten
//
// Locks. Execs.mu guards the index, execution.mu the fields of one exec. The second may
// be taken with the first held, never the other way round; neither is held across a call
// out of the package.
package exec

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containers/ocierror"
	"github.com/linkspan/linkspan/internal/containers/streams"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

const (
	// startLimit bounds the making of a process, and every clean-up.
	startLimit = 2 * time.Minute
	// drainLimit is how long output may go on after the process has ended: somebody
	// outside the container holds its end of the stream.
	drainLimit = 12 * time.Second
)

// Container is the container in which an exec runs.
type Container interface {
	ID() model.ContainerID
	// Ready refuses execs of a container that does not run, or is paused (Conflict).
	Ready() error
	// Gone tells whether the container was removed.
	Gone() bool
	// OrEnded puts "is not running" in the place of an error that says that the process
	// is gone.
	OrEnded(err error) error
	// Say publishes an event; pairs are attributes' names and values.
	Say(action events.Action, pairs ...string)
}

// Runtime runs the processes; one that has ended is NotFound.
type Runtime interface {
	// Exec prepares a process; StartExec lets it run and returns its number on the host.
	Exec(ctx context.Context, id model.ContainerID, exec string, p model.Process) (*model.Streams, error)
	StartExec(ctx context.Context, id model.ContainerID, exec string) (int, error)
	WaitExec(ctx context.Context, id model.ContainerID, exec string) (<-chan model.Exit, error)
	DeleteExec(ctx context.Context, id model.ContainerID, exec string) (model.Exit, error)
	ResizeExec(ctx context.Context, id model.ContainerID, exec string, width, height uint) error
	KillExec(ctx context.Context, id model.ContainerID, exec string, sig syscall.Signal) error
}

// Options are what Execs is made of; all are needed.
type Options struct {
	// Find finds a container by name, ID or the beginning of an ID.
	Find    func(ref string) (Container, error)
	Runtime Runtime
	NewID   func() string
	Closed  context.Context // ends with the manager: so do sessions and waits
	Work    *sync.WaitGroup // of goroutines of our own
	Log     *slog.Logger
}

// Start says how to start an exec. Width and Height are characters, 0 for the kernel's
// default.
type Start struct {
	Detach, TTY   bool
	Width, Height uint
	DetachKeys    string
}

// Execs knows all execs. Its methods may be called from any goroutine.
type Execs struct {
	o Options

	mu          sync.Mutex
	byID        map[string]*execution
	byContainer map[model.ContainerID]map[string]*execution
}

// New returns one that knows no execs.
func New(o Options) *Execs {
	return &Execs{o: o, byID: map[string]*execution{}, byContainer: map[model.ContainerID]map[string]*execution{}}
}

// execution is one `docker exec`. It is forgotten with its container, or when others
// are created: some time after its end, or earlier if they need the memory.
type execution struct {
	id        string
	container Container
	request   container.ExecCreateRequest
	output    *streams.Merge
	input     *streams.Stdin
	created   time.Time
	bytes     int           // of memory that the request takes
	begun     chan struct{} // closed once it runs, or never will

	mu      sync.Mutex
	started bool
	running bool
	pid     int
	exit    *int
	ended   time.Time
}

// CreateExec prepares a further process in a running container.
func (x *Execs) CreateExec(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	c, err := x.o.Find(ref)
	if err != nil {
		return "", err
	}
	if err := c.Ready(); err != nil {
		return "", err
	}
	if len(r.Cmd) == 0 {
		return "", model.Errorf(model.Invalid, "No exec command specified")
	}
	if _, err := streams.ParseDetachKeys(r.DetachKeys); err != nil {
		return "", err
	}
	if err := containerspec.CheckEnv(r.Env); err != nil {
		return "", err
	}
	e := &execution{id: x.o.NewID(), container: c, request: r, output: streams.NewMerge(), input: streams.NewStdin(),
		created: time.Now(), bytes: size(r), begun: make(chan struct{})}
	x.remember(e)
	if c.Gone() { // its removal may have forgotten its execs before this one was there
		x.Forget(c.ID())
		return "", model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	e.say(events.ActionExecCreate)
	return e.id, nil
}

func (x *Execs) find(id string) (*execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.byID[id]
	if !ok {
		return nil, model.Errorf(model.NotFound, "No such exec instance: %s", id)
	}
	return e, nil
}

// StartExec lets a prepared process run. Unless detached it returns when the
// output has ended and the exit code is known, when the client goes, or with
// streams.ErrDetached.
func (x *Execs) StartExec(ctx context.Context, id string, o Start, s streams.Client) error {
	e, err := x.find(id)
	if err != nil {
		return err
	}
	if o.DetachKeys == "" {
		o.DetachKeys = e.request.DetachKeys
	}
	keys, err := streams.ParseDetachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	if !e.request.Tty {
		keys = nil
	}
	if err := e.begin(); err != nil {
		return err
	}
	defer e.output.Leave()
	if o.Detach {
		e.output.Leave()
	}
	if !e.request.AttachStdout {
		s.Stdout = nil
	}
	if !e.request.AttachStderr || e.request.Tty {
		s.Stderr = nil
	}
	if err := x.run(context.WithoutCancel(ctx), e, o); err != nil {
		code, kind := ocierror.ExitCode(err)
		if code == ocierror.Unknown {
			code = ocierror.NotExecutable // Docker's for an exec
		}
		e.finish(code)
		if kind == model.Invalid {
			return model.Errorf(kind, "%w", err)
		}
		return err
	}
	if o.Detach {
		return nil
	}
	if !e.request.AttachStdin {
		s.Stdin = nil
	}
	ctx, cancel := x.within(ctx)
	defer cancel()
	err = streams.Serve(ctx, streams.Session{Output: e.output, Silent: s.Stdout == nil && s.Stderr == nil, Client: s,
		Input: e.input.Wait, DetachKeys: keys, CloseInput: !e.request.Tty})
	if errors.Is(err, streams.ErrDetached) {
		e.say(events.ActionExecDetach)
	}
	return err
}

// begin claims the one start that an exec has.
func (e *execution) begin() error {
	if err := e.container.Ready(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.exit != nil:
		return model.Errorf(model.Conflict, "exec command %s has already run", e.id)
	case e.started:
		return model.Errorf(model.Conflict, "exec command %s is already running", e.id)
	}
	e.started = true
	return nil
}

// run makes the process and follows it to its end in the background.
func (x *Execs) run(ctx context.Context, e *execution, o Start) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cid := e.container.ID()
	ends, err := x.o.Runtime.Exec(ctx, cid, e.id, e.process(o))
	if err != nil {
		return e.container.OrEnded(err)
	}
	e.output.Read(x.o.Work, ends)
	if ends.Stdin != nil {
		e.input.Set(ends.Stdin)
	}
	exits, err := x.o.Runtime.WaitExec(x.o.Closed, cid, e.id)
	if err == nil {
		var pid int
		if pid, err = x.o.Runtime.StartExec(ctx, cid, e.id); err == nil {
			e.mu.Lock()
			e.running, e.pid = true, pid
			e.request.Env = nil // the process has it
			e.mu.Unlock()
			close(e.begun)
		}
	}
	if err != nil {
		e.output.Leave()
		closeStreams(ends)
		x.delete(e)
		return e.container.OrEnded(err)
	}
	e.say(events.ActionExecStart)
	x.o.Work.Go(func() { x.watch(e, ends, exits) })
	return nil
}

func (e *execution) process(o Start) model.Process {
	q := e.request
	p := model.Process{Args: q.Cmd, Env: q.Env, Dir: q.WorkingDir, User: q.User, TTY: q.Tty,
		Stdin: q.AttachStdin && !o.Detach, Privileged: q.Privileged, Width: o.Width, Height: o.Height}
	if q.ConsoleSize != nil && o.Height == 0 {
		p.Height, p.Width = q.ConsoleSize[0], q.ConsoleSize[1]
	}
	return p
}

// watch records the end of an exec before its clients see the end of output:
// they ask for the exit code next.
func (x *Execs) watch(e *execution, ends *model.Streams, exits <-chan model.Exit) {
	defer closeStreams(ends)
	exit, ok := <-exits
	if !ok {
		e.output.Leave() // the manager was closed
		return
	}
	if !e.output.Await(drainLimit) {
		x.o.Log.Warn("output goes on after the end", "container", model.Short(e.container.ID()), "op", "exec.exit")
		e.output.Leave()
	}
	e.finish(exit.Code)
	e.output.Finish()
	e.input.Set(nil)
	x.delete(e)
	e.say(events.ActionExecDie, "exitCode", strconv.Itoa(exit.Code))
}

func (x *Execs) delete(e *execution) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if _, err := x.o.Runtime.DeleteExec(ctx, e.container.ID(), e.id); err != nil && model.KindOf(err) != model.NotFound {
		x.o.Log.Warn("exec not forgotten", "container", model.Short(e.container.ID()), "op", "exec.delete", "err", err)
	}
}

// within returns a context that ends with the manager too.
func (x *Execs) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(x.o.Closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// closeStreams closes our ends. Readers that are still waiting come back.
func closeStreams(s *model.Streams) {
	for _, c := range []io.Closer{s.Stdin, s.Stdout, s.Stderr} {
		if c != nil {
			c.Close() //nolint:errcheck // nothing was written, or nobody reads it any more
		}
	}
}

func (e *execution) finish(code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running { // it could not be started
		close(e.begun)
	}
	e.running, e.pid, e.exit, e.ended = false, 0, &code, time.Now()
}

// InspectExec tells how an exec stands.
func (x *Execs) InspectExec(_ context.Context, id string) (container.ExecInspectResponse, error) {
	e, err := x.find(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := []byte{} // what is not asked for is not told, though there is a default
	if e.request.DetachKeys != "" {
		keys, _ = streams.ParseDetachKeys(e.request.DetachKeys) //nolint:errcheck // checked by CreateExec
	}
	return container.ExecInspectResponse{
		ID: e.id, Running: e.running, ExitCode: e.exit, Pid: e.pid, ContainerID: string(e.container.ID()),
		OpenStdin: e.request.AttachStdin, OpenStdout: e.request.AttachStdout, OpenStderr: e.request.AttachStderr,
		CanRemove: e.exit != nil, DetachKeys: keys,
		ProcessConfig: &container.ExecProcessConfig{Tty: e.request.Tty, Entrypoint: e.request.Cmd[0],
			Arguments: slices.Clone(e.request.Cmd[1:]), Privileged: &e.request.Privileged, User: e.request.User},
	}, nil
}

// say publishes what happens to an exec.
func (e *execution) say(action events.Action, pairs ...string) {
	if action == events.ActionExecCreate || action == events.ActionExecStart {
		action += events.Action(": " + strings.Join(e.request.Cmd, " "))
	}
	e.container.Say(action, append(pairs, "execID", e.id)...)
}
