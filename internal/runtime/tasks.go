package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/mount"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// Tasks runs containers' first processes. Its methods may be called from any goroutine.
type Tasks struct {
	client    *containerd.Client
	processes *processes
	streams   *streams
	shm       sharedMemory
	locks     *taskLocks
	limiter   *execLimiter
	stale     *staleTasks
	log       *slog.Logger
}

// NewTask makes a container's first process, which waits to be started. Its
// output must be read without a pause: the process stops when a pipe is full.
func (t *Tasks) NewTask(ctx context.Context, id model.ContainerID, o model.StreamOptions) (*model.Task, error) {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	release, err := t.locks.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	rootfs, err := t.client.Snapshots().Mounts(ctx, string(id))
	if err != nil {
		return nil, containerd.Faultf("start", containerd.Describe(id), "mount snapshot", err)
	}
	key := procKey{container: id}
	f := t.streams.paths(key, o)
	if err := f.create(); err != nil {
		return nil, err
	}
	in, g, err := t.streams.openInput(key, f)
	if err == nil && o.SharedMemory > 0 {
		err = t.shm.share(id, o.SharedMemory)
	}
	if err == nil && o.Open != nil {
		err = o.Open(f.pipes())
	}
	var answer *tasks.CreateTaskResponse
	if err == nil {
		answer, err = t.createTask(ctx, &tasks.CreateTaskRequest{
			ContainerID: string(id), Rootfs: mount.ToProto(rootfs),
			Stdin: f.stdin, Stdout: f.stdout, Stderr: f.stderr, Terminal: f.tty,
		})
	}
	if err != nil {
		closeInput(in)
		g.close()
		f.remove()
		return nil, startError(containerd.Faultf("start", containerd.Describe(id), "failed to create task for container", err))
	}
	t.streams.keep(key, g)
	return &model.Task{Pid: int(answer.Pid), Stdin: in, Pipes: f.pipes()}, nil
}

// createTask has containerd make a task, clearing away what it stumbles over: a
// start that was cut short may have left a task, or parts of one.
func (t *Tasks) createTask(ctx context.Context, request *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	answer, err := t.client.Tasks().Create(ctx, request)
	if !containerd.SaysTaskExists(err) && !containerd.SaysBundleGone(err) {
		return answer, err
	}
	id := model.ContainerID(request.ContainerID)
	t.log.Info("clearing the way for a task", "container", model.Short(id), "op", "runtime.start", "err", err)
	if cleared := t.removeStale(ctx, id); cleared != nil {
		return nil, errors.Join(err, cleared)
	}
	return t.client.Tasks().Create(ctx, request)
}

// Start lets the process of NewTask run.
func (t *Tasks) Start(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	_, err := t.client.Tasks().Start(ctx, &tasks.StartRequest{ContainerID: string(id)})
	if err != nil {
		return startError(containerd.Faultf("start", containerd.Describe(id), "failed to start container", err))
	}
	t.streams.begun(procKey{container: id})
	return nil
}

// Wait returns a channel that yields how a container's first process ended, or
// is closed without a word if ctx is done or the runtime closed first. It outlives
// containerd: it asks again once containerd is back. NotFound if there is no process.
func (t *Tasks) Wait(ctx context.Context, id model.ContainerID) (<-chan model.Exit, error) {
	return t.processes.wait(ctx, procKey{container: id})
}

// Reattach is NewTask for a process that an earlier daemon started. Output that
// nobody has read waits in the pipes, up to their size, while the process lives.
func (t *Tasks) Reattach(ctx context.Context, id model.ContainerID) (*model.Task, error) {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	p, err := t.processes.known(ctx, id)
	if err != nil {
		return nil, containerd.Fault("reattach", containerd.Describe(id), err)
	}
	key := procKey{container: id}
	f := fifos{stdin: p.Stdin, stdout: p.Stdout, stderr: p.Stderr, tty: p.Terminal}
	in, g, err := t.streams.openInput(key, f)
	if err != nil {
		return nil, err
	}
	started := p.Status != tasktypes.Status_CREATED
	if started {
		g.begun()
	}
	t.streams.keep(key, g)
	t.limiter.pause(id, p.Status == tasktypes.Status_PAUSED)
	return &model.Task{Pid: int(p.Pid), Stdin: in, Pipes: f.pipes(), Started: started}, nil
}

// Kill sends a signal to a container's first process, or to all of them. A
// process that has ended is NotFound.
func (t *Tasks) Kill(ctx context.Context, id model.ContainerID, sig syscall.Signal, all bool) error {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	_, err := t.client.Tasks().Kill(ctx, &tasks.KillRequest{ContainerID: string(id), Signal: uint32(sig), All: all})
	return t.processes.faultOrEnd(ctx, "kill", id, err)
}

// Pause stops all processes of a container where they are. Execs that are being
// started are waited for: runc would be stopped half-way with them, and the shim,
// which waits for runc, would not answer any more.
func (t *Tasks) Pause(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	release, err := t.locks.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	open, err := t.limiter.close(ctx, id)
	if err != nil {
		return err
	}
	defer open()
	pause := func() error {
		_, err := t.client.Tasks().Pause(ctx, &tasks.PauseTaskRequest{ContainerID: string(id)})
		return err
	}
	if err = pause(); err != nil {
		err = t.finishFreeze(ctx, id, true, err, pause)
	}
	t.limiter.pause(id, err == nil)
	return t.processes.faultOrEnd(ctx, "pause", id, err)
}

// Resume lets paused processes go on.
func (t *Tasks) Resume(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	return t.processes.faultOrEnd(ctx, "resume", id, t.thaw(ctx, id))
}

func (t *Tasks) thaw(ctx context.Context, id model.ContainerID) error {
	resume := func() error {
		_, err := t.client.Tasks().Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: string(id)})
		return err
	}
	err := resume()
	if err != nil {
		err = t.finishFreeze(ctx, id, false, err, resume)
	}
	t.limiter.pause(id, false) // if it has failed, the shim must know
	return err
}

// Pids returns the processes in a container, as the host numbers them.
func (t *Tasks) Pids(ctx context.Context, id model.ContainerID) ([]int, error) {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	answer, err := t.client.Tasks().ListPids(ctx, &tasks.ListPidsRequest{ContainerID: string(id)})
	if err != nil {
		return nil, t.processes.faultOrEnd(ctx, "pids", id, err)
	}
	out := make([]int, 0, len(answer.Processes))
	for _, p := range answer.Processes {
		out = append(out, int(p.Pid))
	}
	return out, nil
}

// Resize sets the size of the container's terminal, in characters.
func (t *Tasks) Resize(ctx context.Context, id model.ContainerID, width, height uint) error {
	return t.processes.resize(ctx, procKey{container: id}, width, height)
}

// CloseStdin ends the input of a container's first process. Closing
// Streams.Stdin does the same.
func (t *Tasks) CloseStdin(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	_, err := t.client.Tasks().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: string(id), Stdin: true})
	return containerd.Fault("stdin", containerd.Describe(id), err)
}

// DeleteTask removes the process state of a container and tells how the process
// ended, killing it first if it has not. Read the streams to their end before:
// the shim waits only two seconds for a reader.
//
// NotFound if there is no process; what a start that was cut short has left is
// cleared away then.
func (t *Tasks) DeleteTask(ctx context.Context, id model.ContainerID) (model.Exit, error) {
	release, err := t.locks.take(ctx, id)
	if err != nil {
		return model.Exit{}, err
	}
	defer release()
	exit, err := t.deleteTask(ctx, id)
	if err != nil && model.KindOf(err) != model.NotFound {
		return model.Exit{}, err
	}
	t.forget(id)
	return exit, errors.Join(err, t.removeStreams(id))
}

// forget closes what is open for a container's processes.
func (t *Tasks) forget(id model.ContainerID) {
	t.streams.forgetAll(id)
	t.limiter.forget(id)
}

// removeStreams removes the FIFOs of a container's processes, and its shared memory.
func (t *Tasks) removeStreams(id model.ContainerID) error {
	if err := os.RemoveAll(t.streams.dir(id)); err != nil {
		return fmt.Errorf("remove streams: %w", err)
	}
	return t.shm.unshare(id)
}

// deleteTask is DeleteTask without the streams. The caller has the lock.
func (t *Tasks) deleteTask(ctx context.Context, id model.ContainerID) (model.Exit, error) {
	status, err := t.processes.Status(ctx, id)
	if err != nil {
		return model.Exit{}, err
	}
	if status.State == model.TaskNone {
		ctx, cancel := t.client.Call(ctx)
		defer cancel()
		if err := t.stale.clear(ctx, id); err != nil {
			return model.Exit{}, err
		}
		return model.Exit{}, &model.Error{Op: "runtime.deletetask", Subject: containerd.Describe(id),
			Kind: model.NotFound, Err: fmt.Errorf("no process: %w", os.ErrNotExist)}
	}
	if status.State != model.TaskStopped {
		if err := t.end(ctx, id); err != nil {
			return model.Exit{}, err
		}
	}
	ctx, cancel := t.client.Call(ctx)
	defer cancel()
	oom := t.processes.oomKilled(ctx, id) // before its cgroup goes
	answer, err := t.client.Tasks().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: string(id)})
	if err != nil {
		return model.Exit{}, containerd.Fault("deletetask", containerd.Describe(id), err)
	}
	return model.Exit{Code: int(answer.ExitStatus), At: answer.ExitedAt.AsTime(), OOMKilled: oom}, nil
}

// end kills a container's processes and waits until the first has ended.
func (t *Tasks) end(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := context.WithTimeout(ctx, containerd.CallTimeout)
	defer cancel()
	done, err := t.Wait(ctx, id)
	if err != nil {
		return err
	}
	if err := t.Kill(ctx, id, syscall.SIGKILL, true); err != nil && model.KindOf(err) != model.NotFound {
		return err
	}
	// A frozen process (cgroup v1) dies only once it is thawed.
	if err := t.thaw(t.client.Scope(ctx), id); err != nil {
		t.log.Debug("resume before the end", "container", model.Short(id), "op", "runtime.end", "err", err)
	}
	if _, ok := <-done; !ok {
		return containerd.Faultf("deletetask", containerd.Describe(id), "waiting for the process to end",
			errors.Join(ctx.Err(), os.ErrDeadlineExceeded))
	}
	return nil
}

// removeStale removes a task that does not run, or what is left of one that
// containerd has forgotten. Conflict if it runs. The caller has the lock.
func (t *Tasks) removeStale(ctx context.Context, id model.ContainerID) error {
	answer, err := t.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
	if containerd.IsNotFound(err) {
		return t.stale.clear(ctx, id)
	}
	if err != nil {
		return containerd.Fault("start", containerd.Describe(id), err)
	}
	if s := answer.Process.Status; s != tasktypes.Status_CREATED && s != tasktypes.Status_STOPPED {
		return model.Errorf(model.Conflict, "%s has a process already", containerd.Describe(id))
	}
	_, err = t.deleteTask(ctx, id)
	return err
}
