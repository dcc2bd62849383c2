package runtime

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// Execs runs further processes in containers that run. Its methods may be called from any
// goroutine.
type Execs struct {
	client    *containerd.Client
	host      ocispec.Host
	specs     storedSpecs
	processes *processes
	streams   *streams
	limiter   *execLimiter
}

// Exec prepares a further process in a running container and returns our ends of
// its streams; StartExec lets it run. What p leaves empty comes from the
// container: user, directory, environment.
func (e *Execs) Exec(ctx context.Context, id model.ContainerID, exec string, p model.Process) (*model.Streams, error) {
	ctx, cancel := e.client.Call(ctx)
	defer cancel()
	if exec == "" || strings.ContainsAny(exec, "/.") {
		return nil, model.Errorf(model.Invalid, "invalid exec id %q", exec)
	}
	_, s, err := e.specs.load(ctx, id)
	if err != nil {
		return nil, err
	}
	process, err := ocispec.Exec(s.Process, p, e.host, func() (specs.User, error) { return e.execUser(ctx, id, p) })
	if err != nil {
		return nil, err
	}
	packed, err := typeurl.MarshalAnyToProto(process)
	if err != nil {
		return nil, fmt.Errorf("pack process: %w", err)
	}
	key := procKey{container: id, exec: exec}
	f := e.streams.paths(key, model.StreamOptions{TTY: p.TTY, Stdin: p.Stdin})
	if err := f.create(); err != nil {
		return nil, err
	}
	ours, g, err := e.streams.openStreams(key, f)
	if err != nil {
		return nil, err
	}
	_, err = e.client.Tasks().Exec(ctx, &tasks.ExecProcessRequest{ContainerID: string(id), ExecID: exec,
		Stdin: f.stdin, Stdout: f.stdout, Stderr: f.stderr, Terminal: p.TTY, Spec: packed})
	if err != nil {
		closeStreams(ours)
		g.close()
		f.remove()
		if containerd.SaysPaused(err) { // since we looked
			return nil, frozen(id)
		}
		return nil, startError(e.processes.faultOrEnd(ctx, "exec", id, err))
	}
	e.streams.keep(key, g)
	return ours, nil
}

// execUser resolves a user in the container as it is now, not as its image was.
func (e *Execs) execUser(ctx context.Context, id model.ContainerID, p model.Process) (specs.User, error) {
	answer, err := e.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if err != nil {
		return specs.User{}, e.processes.faultOrEnd(ctx, "exec", id, err)
	}
	return ocispec.ResolveUser(fmt.Sprintf("/proc/%d/root", answer.Process.Pid), p.User, p.ExtraGroups)
}

// StartExec lets an exec run and returns its pid, as the host numbers it.
func (e *Execs) StartExec(ctx context.Context, id model.ContainerID, exec string) (int, error) {
	ctx, cancel := e.client.Call(ctx)
	defer cancel()
	leave, err := e.limiter.enter(ctx, id)
	if err != nil {
		e.streams.begun(procKey{container: id, exec: exec})
		return 0, err
	}
	answer, err := e.client.Tasks().Start(ctx, &tasks.StartRequest{ContainerID: string(id), ExecID: exec})
	leave()
	// Also after an error: whoever reads the streams must see their end.
	e.streams.begun(procKey{container: id, exec: exec})
	if err != nil {
		return 0, startError(e.processes.faultOrEnd(ctx, "exec", id, err))
	}
	return int(answer.Pid), nil
}

// ResizeExec sets the size of an exec's terminal, in characters.
func (e *Execs) ResizeExec(ctx context.Context, id model.ContainerID, exec string, width, height uint) error {
	return e.processes.resize(ctx, procKey{container: id, exec: exec}, width, height)
}

// KillExec sends a signal to an exec, and to what it has started as far as that is
// in its process group: the children of a shell that is killed would stay.
func (e *Execs) KillExec(ctx context.Context, id model.ContainerID, exec string, sig syscall.Signal) error {
	ctx, cancel := e.client.Call(ctx)
	defer cancel()
	answer, err := e.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id), ExecID: exec})
	if err != nil {
		return containerd.Fault("exec", containerd.Describe(id), err)
	}
	if p := answer.Process; p.Status == tasktypes.Status_RUNNING && signalGroup(int(p.Pid), sig) {
		return nil
	}
	_, err = e.client.Tasks().Kill(ctx, &tasks.KillRequest{ContainerID: string(id), ExecID: exec, Signal: uint32(sig)})
	return containerd.Fault("exec", containerd.Describe(id), err)
}

// signalGroup sends a signal to a process group (kill(2), setsid(2)) whose leader
// is alive; false if there is none. runc gives every process that it starts a
// group of its own.
func signalGroup(leader int, sig syscall.Signal) bool {
	group, err := unix.Getpgid(leader)
	return err == nil && group == leader && leader > 1 && unix.Kill(-leader, sig) == nil
}

// DeleteExec removes the state of an exec that has ended or never started. Its
// FIFOs go too; streams that are open can still be read to their end.
func (e *Execs) DeleteExec(ctx context.Context, id model.ContainerID, exec string) (model.Exit, error) {
	ctx, cancel := e.client.Call(ctx)
	defer cancel()
	answer, err := e.client.Tasks().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: string(id), ExecID: exec})
	if err != nil && !containerd.IsNotFound(err) {
		return model.Exit{}, containerd.Fault("exec", containerd.Describe(id), err)
	}
	key := procKey{container: id, exec: exec}
	e.streams.forget(key)
	e.streams.paths(key, model.StreamOptions{Stdin: true}).remove()
	if err != nil {
		return model.Exit{}, containerd.Fault("exec", containerd.Describe(id), err)
	}
	return model.Exit{Code: int(answer.ExitStatus), At: answer.ExitedAt.AsTime()}, nil
}

// WaitExec is Wait for an exec.
func (e *Execs) WaitExec(ctx context.Context, id model.ContainerID, exec string) (<-chan model.Exit, error) {
	return e.processes.wait(ctx, procKey{container: id, exec: exec})
}
