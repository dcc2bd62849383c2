package runtime

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// endSeen is how long the shim may take to see that a process has ended.
const endSeen = 2 * time.Second

// Exec prepares a further process in a running container and returns our ends of
// its streams; StartExec lets it run. What p leaves empty comes from the
// container: user, directory, environment.
func (r *Runtime) Exec(ctx context.Context, id model.ContainerID, exec string, p model.Process) (*model.Streams, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	if exec == "" || strings.ContainsAny(exec, "/.") {
		return nil, model.Errorf(model.Invalid, "invalid exec id %q", exec)
	}
	_, s, err := r.loadSpec(ctx, id)
	if err != nil {
		return nil, err
	}
	process, err := ocispec.Exec(s.Process, p, r.host, func() (specs.User, error) { return r.execUser(ctx, id, p) })
	if err != nil {
		return nil, err
	}
	packed, err := typeurl.MarshalAnyToProto(process)
	if err != nil {
		return nil, fmt.Errorf("pack process: %w", err)
	}
	key := procKey{container: id, exec: exec}
	f := r.fifoPaths(key, model.StreamOptions{TTY: p.TTY, Stdin: p.Stdin})
	if err := f.create(); err != nil {
		return nil, err
	}
	streams, g, err := r.openStreams(key, f)
	if err != nil {
		return nil, err
	}
	_, err = r.client.Tasks().Exec(ctx, &tasks.ExecProcessRequest{ContainerID: string(id), ExecID: exec,
		Stdin: f.stdin, Stdout: f.stdout, Stderr: f.stderr, Terminal: p.TTY, Spec: packed})
	if err != nil {
		closeStreams(streams)
		g.close()
		f.remove()
		if containerd.SaysPaused(err) { // since we looked
			return nil, frozen(id)
		}
		return nil, r.faultOrEnd(ctx, "exec", id, err)
	}
	r.keep(key, g)
	return streams, nil
}

// execUser resolves a user in the container as it is now, not as its image was.
func (r *Runtime) execUser(ctx context.Context, id model.ContainerID, p model.Process) (specs.User, error) {
	answer, err := r.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if err != nil {
		return specs.User{}, r.faultOrEnd(ctx, "exec", id, err)
	}
	return ocispec.ResolveUser(fmt.Sprintf("/proc/%d/root", answer.Process.Pid), p.User, p.ExtraGroups)
}

// StartExec lets an exec run and returns its pid, as the host numbers it.
func (r *Runtime) StartExec(ctx context.Context, id model.ContainerID, exec string) (int, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	leave, err := r.starting.enter(ctx, id)
	if err != nil {
		r.begun(procKey{container: id, exec: exec})
		return 0, err
	}
	answer, err := r.client.Tasks().Start(ctx, &tasks.StartRequest{ContainerID: string(id), ExecID: exec})
	leave()
	// Also after an error: whoever reads the streams must see their end.
	r.begun(procKey{container: id, exec: exec})
	if err != nil {
		return 0, r.faultOrEnd(ctx, "exec", id, err)
	}
	return int(answer.Pid), nil
}

// faultOrEnd is Fault for what needs a container that runs: NotFound if it could not be
// done because the container has just ended.
func (r *Runtime) faultOrEnd(ctx context.Context, op string, id model.ContainerID, err error) error {
	if err != nil && r.diedUnder(ctx, id, err) {
		return model.Errorf(model.NotFound, "%s ended meanwhile: %w", containerd.Describe(id), containerd.Native(err))
	}
	return containerd.Fault(op, containerd.Describe(id), err)
}

// diedUnder tells whether something failed because the container's first process has
// just ended. runc's words for it are many, and may be about files that are no more:
// the state of the container counts, which the shim may see a little later.
func (r *Runtime) diedUnder(ctx context.Context, id model.ContainerID, err error) bool {
	patience := time.Duration(0)
	if containerd.SaysMayHaveEnded(err) {
		patience = endSeen
	}
	for end := time.Now().Add(patience); ; time.Sleep(containerd.RetryFirst) {
		answer, err := r.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
		if containerd.IsNotFound(err) || err == nil && answer.Process.Status == tasktypes.Status_STOPPED {
			return true
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return false
		}
	}
}

// ResizeExec sets the size of an exec's terminal, in characters.
func (r *Runtime) ResizeExec(ctx context.Context, id model.ContainerID, exec string, width, height uint) error {
	return r.resize(ctx, procKey{container: id, exec: exec}, width, height)
}

// KillExec sends a signal to an exec, and to what it has started as far as that is
// in its process group: the children of a shell that is killed would stay.
func (r *Runtime) KillExec(ctx context.Context, id model.ContainerID, exec string, sig syscall.Signal) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	answer, err := r.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id), ExecID: exec})
	if err != nil {
		return containerd.Fault("exec", containerd.Describe(id), err)
	}
	if p := answer.Process; p.Status == tasktypes.Status_RUNNING && signalGroup(int(p.Pid), sig) {
		return nil
	}
	_, err = r.client.Tasks().Kill(ctx, &tasks.KillRequest{ContainerID: string(id), ExecID: exec, Signal: uint32(sig)})
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
func (r *Runtime) DeleteExec(ctx context.Context, id model.ContainerID, exec string) (model.Exit, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	answer, err := r.client.Tasks().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: string(id), ExecID: exec})
	if err != nil && !containerd.IsNotFound(err) {
		return model.Exit{}, containerd.Fault("exec", containerd.Describe(id), err)
	}
	key := procKey{container: id, exec: exec}
	r.forget(key)
	r.fifoPaths(key, model.StreamOptions{Stdin: true}).remove()
	if err != nil {
		return model.Exit{}, containerd.Fault("exec", containerd.Describe(id), err)
	}
	return model.Exit{Code: int(answer.ExitStatus), At: answer.ExitedAt.AsTime()}, nil
}
