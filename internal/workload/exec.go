package workload

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// execution is one `docker exec`. It is forgotten with its container, or when others
// are created: some time after its end, or earlier if they need the memory.
type execution struct {
	id      string
	box     *box
	request container.ExecCreateRequest
	output  *feed
	input   *inlet
	created time.Time
	bytes   int           // of memory that the request takes
	begun   chan struct{} // closed once it runs, or never will

	mu      sync.Mutex
	started bool
	running bool
	pid     int
	exit    *int
	ended   time.Time
}

// CreateExec prepares a further process in a running container.
func (m *Manager) CreateExec(_ context.Context, ref string, r container.ExecCreateRequest) (string, error) {
	b, err := m.find(ref)
	if err != nil {
		return "", err
	}
	if err := execable(b); err != nil {
		return "", err
	}
	if len(r.Cmd) == 0 {
		return "", refuse("No exec command specified")
	}
	if _, err := parseDetachKeys(r.DetachKeys); err != nil {
		return "", err
	}
	if err := containerspec.CheckEnv(r.Env); err != nil {
		return "", err
	}
	e := &execution{id: newID(), box: b, request: r, output: newFeed(), input: newInlet(), created: time.Now(), bytes: execSize(r), begun: make(chan struct{})}
	b.mu.Lock()
	gone := b.gone
	if !gone {
		b.execs[e.id] = e
	}
	b.mu.Unlock()
	if gone {
		return "", model.Errorf(model.NotFound, "No such container: %s", ref)
	}
	m.remember(e)
	m.sayExec(e, events.ActionExecCreate)
	return e.id, nil
}

func execable(b *box) error {
	rec := b.snapshot()
	switch {
	case b.current() == nil && rec.State.Restarting:
		return restarting(b.id)
	case b.current() == nil:
		return notRunning(b.id)
	case rec.State.Paused:
		return model.Errorf(model.Conflict, "container %s is paused, unpause the container before exec", b.id)
	}
	return nil
}

func (m *Manager) findExec(id string) (*execution, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.execs[id]
	if !ok {
		return nil, model.Errorf(model.NotFound, "No such exec instance: %s", id)
	}
	return e, nil
}

// StartExec lets a prepared process run. Unless detached it returns when the
// output has ended and the exit code is known, when the client goes, or with
// ErrDetached.
func (m *Manager) StartExec(ctx context.Context, id string, o ExecStart, s Streams) error {
	e, err := m.findExec(id)
	if err != nil {
		return err
	}
	if o.DetachKeys == "" {
		o.DetachKeys = e.request.DetachKeys
	}
	keys, err := parseDetachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	if !e.request.Tty {
		keys = nil
	}
	if err := e.begin(); err != nil {
		return err
	}
	defer e.output.leave()
	if o.Detach {
		e.output.leave()
	}
	if !e.request.AttachStdout {
		s.Stdout = nil
	}
	if !e.request.AttachStderr || e.request.Tty {
		s.Stderr = nil
	}
	if err := m.runExec(context.WithoutCancel(ctx), e, o); err != nil {
		code, kind := failureCode(err)
		if code == exitUnknown {
			code = exitNotExecutable // Docker's for an exec
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
	ctx, cancel := m.within(ctx)
	defer cancel()
	err = serve(ctx, session{output: e.output, silent: s.Stdout == nil && s.Stderr == nil, streams: s,
		input: e.input.wait, keys: keys, closeInput: !e.request.Tty})
	if errors.Is(err, ErrDetached) {
		m.sayExec(e, events.ActionExecDetach)
	}
	return err
}

// begin claims the one start that an exec has.
func (e *execution) begin() error {
	if err := execable(e.box); err != nil {
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

// runExec makes the process and follows it to its end in the background.
func (m *Manager) runExec(ctx context.Context, e *execution, o ExecStart) error {
	ctx, cancel := context.WithTimeout(ctx, verbTimeout)
	defer cancel()
	cid := e.box.id
	streams, err := m.o.Execs.Exec(ctx, cid, e.id, e.process(o))
	if err != nil {
		return orEnded(cid, err)
	}
	e.output.read(&m.work, streams)
	if streams.Stdin != nil {
		e.input.set(streams.Stdin)
	}
	exits, err := m.o.Execs.WaitExec(m.closed, cid, e.id)
	if err == nil {
		var pid int
		if pid, err = m.o.Execs.StartExec(ctx, cid, e.id); err == nil {
			e.mu.Lock()
			e.running, e.pid = true, pid
			e.request.Env = nil // the process has it
			e.mu.Unlock()
			close(e.begun)
		}
	}
	if err != nil {
		e.output.leave()
		closeStreams(streams)
		m.deleteExec(e)
		return orEnded(cid, err)
	}
	m.sayExec(e, events.ActionExecStart)
	m.work.Go(func() { m.watchExec(e, streams, exits) })
	return nil
}

func (e *execution) process(o ExecStart) model.Process {
	q := e.request
	p := model.Process{Args: q.Cmd, Env: q.Env, Dir: q.WorkingDir, User: q.User, TTY: q.Tty,
		Stdin: q.AttachStdin && !o.Detach, Privileged: q.Privileged, Width: o.Width, Height: o.Height}
	if q.ConsoleSize != nil && o.Height == 0 {
		p.Height, p.Width = q.ConsoleSize[0], q.ConsoleSize[1]
	}
	return p
}

// watchExec records the end of an exec before its clients see the end of output:
// they ask for the exit code next.
func (m *Manager) watchExec(e *execution, streams *model.Streams, exits <-chan model.Exit) {
	defer closeStreams(streams)
	exit, ok := <-exits
	if !ok {
		e.output.leave() // the manager was closed
		return
	}
	if !e.output.await(drainLimit) {
		m.log.Warn("output goes on after the end", "container", model.Short(e.box.id), "op", "exec.exit")
		e.output.leave()
	}
	e.finish(exit.Code)
	e.output.finish()
	e.input.set(nil)
	m.deleteExec(e)
	m.sayExec(e, events.ActionExecDie, "exitCode", strconv.Itoa(exit.Code))
}

func (m *Manager) deleteExec(e *execution) {
	ctx, cancel := m.cleanup()
	defer cancel()
	if _, err := m.o.Execs.DeleteExec(ctx, e.box.id, e.id); err != nil && model.KindOf(err) != model.NotFound {
		m.log.Warn("exec not forgotten", "container", model.Short(e.box.id), "op", "exec.delete", "err", err)
	}
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
func (m *Manager) InspectExec(_ context.Context, id string) (container.ExecInspectResponse, error) {
	e, err := m.findExec(id)
	if err != nil {
		return container.ExecInspectResponse{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	keys := []byte{} // what is not asked for is not told, though there is a default
	if e.request.DetachKeys != "" {
		keys, _ = parseDetachKeys(e.request.DetachKeys) //nolint:errcheck // checked by CreateExec
	}
	return container.ExecInspectResponse{
		ID: e.id, Running: e.running, ExitCode: e.exit, Pid: e.pid, ContainerID: string(e.box.id),
		OpenStdin: e.request.AttachStdin, OpenStdout: e.request.AttachStdout, OpenStderr: e.request.AttachStderr,
		CanRemove: e.exit != nil, DetachKeys: keys,
		ProcessConfig: &container.ExecProcessConfig{Tty: e.request.Tty, Entrypoint: e.request.Cmd[0],
			Arguments: slices.Clone(e.request.Cmd[1:]), Privileged: &e.request.Privileged, User: e.request.User},
	}, nil
}

func (m *Manager) sayExec(e *execution, action events.Action, pairs ...string) {
	if action == events.ActionExecCreate || action == events.ActionExecStart {
		action += events.Action(": " + strings.Join(e.request.Cmd, " "))
	}
	m.say(e.box, action, append(pairs, "execID", e.id)...)
}
