package containers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/model"
)

// fakeProcess is a process of the fake runtime.
type fakeProcess struct {
	pid            int
	state          model.TaskState
	out, err       *io.PipeWriter
	outEnd, errEnd *io.PipeReader
	in             *stdin
	exit           chan struct{}
	result         model.Exit
	signals        []syscall.Signal
	pending        []syscall.Signal // for when it is thawed
}

// stdin collects what a process is sent.
type stdin struct {
	mu     sync.Mutex
	text   bytes.Buffer
	closed bool
}

func (s *stdin) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *stdin) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *stdin) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// fakeRuntime is all hands of the runtime without containerd. Processes end when
// a test says so, or by signals: TERM unless stubborn, KILL always.
type fakeRuntime struct {
	mu        sync.Mutex
	made      map[model.ContainerID]model.ContainerSpec
	drafts    map[model.ContainerID]bool
	tasks     map[model.ContainerID]*fakeProcess
	execs     map[string]*fakeProcess
	execSpec  map[string]model.Process
	failStart error // of the next start
	refusal   error // of every start, see refuse
	starts    int   // so many of them were tried
	halfMade  error // the next Create makes a container, and fails
	busy      int   // so many calls of Delete fail
	vague     bool  // List does not know how processes are
	stubborn  bool
	dying     bool                         // processes have ended, and nobody knows yet
	script    func(model.Process) scripted // what execs do; nil: they run until a test ends them
	nextPid   int
	pipes     map[string]io.Reader // by name
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{made: map[model.ContainerID]model.ContainerSpec{}, drafts: map[model.ContainerID]bool{}, tasks: map[model.ContainerID]*fakeProcess{},
		execs: map[string]*fakeProcess{}, execSpec: map[string]model.Process{}, nextPid: 1000, pipes: map[string]io.Reader{}}
}

var errGone = model.Errorf(model.NotFound, "no such process")

func (r *fakeRuntime) newProcess(o model.StreamOptions) (*fakeProcess, *model.Streams) {
	r.nextPid++
	p := &fakeProcess{pid: r.nextPid, state: model.TaskCreated, exit: make(chan struct{})}
	p.outEnd, p.out = io.Pipe()
	s := &model.Streams{Stdout: p.outEnd}
	if !o.TTY {
		p.errEnd, p.err = io.Pipe()
		s.Stderr = p.errEnd
	}
	if o.Stdin {
		p.in = &stdin{}
		s.Stdin = p.in
	}
	return p, s
}

func (p *fakeProcess) finish(code int) {
	if p.state == model.TaskStopped {
		return
	}
	p.state, p.result = model.TaskStopped, model.Exit{Code: code, At: time.Now()}
	p.out.Close()
	if p.err != nil {
		p.err.Close()
	}
	close(p.exit)
}

func (r *fakeRuntime) Create(_ context.Context, spec model.ContainerSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.made[spec.ID]; ok {
		return model.Errorf(model.Conflict, "already exists")
	}
	r.made[spec.ID] = spec
	delete(r.drafts, spec.ID)
	err := r.halfMade
	r.halfMade = nil
	return err
}

func (r *fakeRuntime) Draft(_ context.Context, spec model.ContainerSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drafts[spec.ID] = true
	return nil
}

func (r *fakeRuntime) Delete(_ context.Context, id model.ContainerID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tasks[id] != nil {
		return model.Errorf(model.Conflict, "container has a task")
	}
	if r.busy > 0 {
		r.busy--
		return model.Errorf(model.Unavailable, "connection refused")
	}
	delete(r.made, id)
	delete(r.drafts, id)
	return nil
}

func (r *fakeRuntime) List(context.Context) ([]model.TaskStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []model.TaskStatus
	for id := range r.made {
		one := model.TaskStatus{ID: id, State: model.TaskNone}
		if p := r.tasks[id]; p != nil {
			one.Pid, one.State, one.Exit = p.pid, p.state, p.result
			if r.vague {
				one.Pid, one.State = 0, model.TaskUnknown
			}
		}
		out = append(out, one)
	}
	for id := range r.drafts {
		out = append(out, model.TaskStatus{ID: id, State: model.TaskNone, Draft: true})
	}
	return out, nil
}

func (r *fakeRuntime) Check(spec model.ContainerSpec) error {
	if slices.Contains(spec.CapAdd, "BOGUS") {
		return model.Errorf(model.Invalid, "invalid CapAdd: unknown capability: %q", "CAP_BOGUS")
	}
	return nil
}

func (r *fakeRuntime) Update(context.Context, model.ContainerID, model.Resources) error { return nil }

func (r *fakeRuntime) Renew(_ context.Context, spec model.ContainerSpec) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	made, ok := r.made[spec.ID]
	if !ok {
		return model.Errorf(model.NotFound, "no container %s", spec.ID)
	}
	made.Process.Env = spec.Process.Env
	r.made[spec.ID] = made
	return nil
}

func (r *fakeRuntime) NewTask(_ context.Context, id model.ContainerID, o model.StreamOptions) (*model.Task, error) {
	task, err := r.newTask(id, o)
	if err == nil && o.Open != nil {
		err = o.Open(task.Pipes)
	}
	return task, err
}

func (r *fakeRuntime) newTask(id model.ContainerID, o model.StreamOptions) (*model.Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.made[id]; !ok {
		return nil, model.Errorf(model.NotFound, "container not found")
	}
	if r.tasks[id] != nil {
		return nil, model.Errorf(model.Conflict, "task already exists")
	}
	p, s := r.newProcess(o)
	r.tasks[id] = p
	return &model.Task{Pid: p.pid, Stdin: s.Stdin, Pipes: r.name(p)}, nil
}

// name gives the pipes of a process names.
func (r *fakeRuntime) name(p *fakeProcess) (out model.Pipes) {
	out.Stdout = fmt.Sprintf("pipe %d stdout", len(r.pipes))
	r.pipes[out.Stdout] = p.outEnd
	if p.errEnd != nil {
		out.Stderr = fmt.Sprintf("pipe %d stderr", len(r.pipes))
		r.pipes[out.Stderr] = p.errEnd
	}
	return out
}

// pipe returns the reading end of a pipe; nil if there is none of that name.
func (r *fakeRuntime) pipe(name string) io.Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	if end, ok := r.pipes[name]; ok {
		return end
	}
	return nil
}

func (r *fakeRuntime) Reattach(_ context.Context, id model.ContainerID) (*model.Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.tasks[id]
	if p == nil {
		return nil, errGone
	}
	p.outEnd, p.out = io.Pipe()
	p.errEnd, p.err = io.Pipe()
	return &model.Task{Pid: p.pid, Pipes: r.name(p), Started: p.state != model.TaskCreated}, nil
}

func (r *fakeRuntime) Start(_ context.Context, id model.ContainerID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts++
	if r.refusal != nil {
		return r.refusal
	}
	if err := r.failStart; err != nil {
		r.failStart = nil
		return err
	}
	r.tasks[id].state = model.TaskRunning
	return nil
}

// refuse has every start fail, or none with nil.
func (r *fakeRuntime) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal, r.starts = err, 0
}

// tried returns how many starts were tried since refuse.
func (r *fakeRuntime) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.starts
}

func (r *fakeRuntime) wait(ctx context.Context, p *fakeProcess) (<-chan model.Exit, error) {
	if p == nil {
		return nil, errGone
	}
	out := make(chan model.Exit, 1)
	go func() {
		defer close(out)
		select {
		case <-p.exit:
			out <- p.result
		case <-ctx.Done():
		}
	}()
	return out, nil
}

func (r *fakeRuntime) Wait(ctx context.Context, id model.ContainerID) (<-chan model.Exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wait(ctx, r.tasks[id])
}

func (r *fakeRuntime) DeleteTask(_ context.Context, id model.ContainerID) (model.Exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.tasks[id]
	if p == nil {
		return model.Exit{}, errGone
	}
	p.finish(137)
	delete(r.tasks, id)
	return p.result, nil
}

func (r *fakeRuntime) Kill(_ context.Context, id model.ContainerID, sig syscall.Signal, _ bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.tasks[id]
	if p == nil || p.state == model.TaskStopped {
		return errGone
	}
	p.signals = append(p.signals, sig)
	if p.state == model.TaskPaused && sig != syscall.SIGKILL {
		p.pending = append(p.pending, sig)
		return nil
	}
	r.hit(p, sig)
	return nil
}

// hit lets a signal arrive.
func (r *fakeRuntime) hit(p *fakeProcess, sig syscall.Signal) {
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM && !r.stubborn {
		p.finish(128 + int(sig))
	}
}

func (r *fakeRuntime) setState(id model.ContainerID, s model.TaskState) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.tasks[id]; p != nil && p.state != model.TaskStopped {
		p.state = s
	}
	return nil
}

func (r *fakeRuntime) Pause(_ context.Context, id model.ContainerID) error {
	if r.dying {
		return errGone
	}
	return r.setState(id, model.TaskPaused)
}

func (r *fakeRuntime) Resume(_ context.Context, id model.ContainerID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.tasks[id]
	if p == nil || p.state != model.TaskPaused {
		return model.Errorf(model.Internal, "container not paused")
	}
	p.state = model.TaskRunning
	for _, sig := range p.pending {
		r.hit(p, sig)
	}
	p.pending = nil
	return nil
}

func (r *fakeRuntime) Resize(context.Context, model.ContainerID, uint, uint) error {
	if r.dying {
		return errGone
	}
	return nil
}

func (r *fakeRuntime) Pids(context.Context, model.ContainerID) ([]int, error) {
	return []int{os.Getpid()}, nil
}

func (r *fakeRuntime) Exec(_ context.Context, _ model.ContainerID, exec string, p model.Process) (*model.Streams, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dying {
		return nil, errGone
	}
	e, s := r.newProcess(model.StreamOptions{TTY: p.TTY, Stdin: p.Stdin})
	r.execs[exec], r.execSpec[exec] = e, p
	return s, nil
}

func (r *fakeRuntime) StartExec(_ context.Context, _ model.ContainerID, exec string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.failStart; err != nil {
		r.failStart = nil
		r.execs[exec].finish(127)
		return 0, err
	}
	r.execs[exec].state = model.TaskRunning
	if r.script != nil {
		go r.play(r.execs[exec], r.script(r.execSpec[exec]))
	}
	return r.execs[exec].pid, nil
}

func (r *fakeRuntime) WaitExec(ctx context.Context, _ model.ContainerID, exec string) (<-chan model.Exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wait(ctx, r.execs[exec])
}

func (r *fakeRuntime) ResizeExec(context.Context, model.ContainerID, string, uint, uint) error {
	return nil
}

func (r *fakeRuntime) DeleteExec(_ context.Context, _ model.ContainerID, exec string) (model.Exit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.execs[exec]
	if p == nil {
		return model.Exit{}, errGone
	}
	if p.state == model.TaskRunning {
		return model.Exit{}, model.Errorf(model.Conflict, "process must be stopped before deletion")
	}
	delete(r.execs, exec)
	return p.result, nil
}

// process returns the process of a container; nil if there is none.
func (r *fakeRuntime) process(id string) *fakeProcess {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tasks[model.ContainerID(id)]
}

func (r *fakeRuntime) finish(p *fakeProcess, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.finish(code)
}

// signalled tells whether a process has got a signal.
func (r *fakeRuntime) signalled(p *fakeProcess) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(p.signals) > 0
}
