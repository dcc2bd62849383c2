package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// NewTask makes a container's first process, which waits to be started. Its
// output must be read without a pause: the process stops when a pipe is full.
func (r *Runtime) NewTask(ctx context.Context, id model.ContainerID, o model.StreamOptions) (*model.Task, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	release, err := r.claims.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer release()
	rootfs, err := r.client.Snapshots().Mounts(ctx, string(id))
	if err != nil {
		return nil, containerd.Faultf("start", containerd.Describe(id), "mount snapshot", err)
	}
	key := procKey{container: id}
	f := r.fifoPaths(key, o)
	if err := f.create(); err != nil {
		return nil, err
	}
	in, g, err := r.openInput(key, f)
	if err == nil && o.SharedMemory > 0 {
		err = r.shareMemory(id, o.SharedMemory)
	}
	if err == nil && o.Open != nil {
		err = o.Open(f.pipes())
	}
	var answer *tasks.CreateTaskResponse
	if err == nil {
		answer, err = r.createTask(ctx, &tasks.CreateTaskRequest{
			ContainerID: string(id), Rootfs: mount.ToProto(rootfs),
			Stdin: f.stdin, Stdout: f.stdout, Stderr: f.stderr, Terminal: f.tty,
		})
	}
	if err != nil {
		closeInput(in)
		g.close()
		f.remove()
		return nil, containerd.Faultf("start", containerd.Describe(id), "failed to create task for container", err)
	}
	r.keep(key, g)
	return &model.Task{Pid: int(answer.Pid), Stdin: in, Pipes: f.pipes()}, nil
}

// createTask has containerd make a task, clearing away what it stumbles over: a
// start that was cut short may have left a task, or parts of one.
func (r *Runtime) createTask(ctx context.Context, request *tasks.CreateTaskRequest) (*tasks.CreateTaskResponse, error) {
	answer, err := r.client.Tasks().Create(ctx, request)
	if !containerd.SaysTaskExists(err) {
		return answer, err
	}
	id := model.ContainerID(request.ContainerID)
	r.log.Info("clearing the way for a task", "container", model.Short(id), "op", "runtime.start", "err", err)
	if cleared := r.clearTheWay(ctx, id); cleared != nil {
		return nil, errors.Join(err, cleared)
	}
	return r.client.Tasks().Create(ctx, request)
}

// Start lets the process of NewTask run.
func (r *Runtime) Start(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	_, err := r.client.Tasks().Start(ctx, &tasks.StartRequest{ContainerID: string(id)})
	if err != nil {
		return containerd.Faultf("start", containerd.Describe(id), "failed to start container", err)
	}
	r.begun(procKey{container: id})
	return nil
}

// Reattach is NewTask for a process that an earlier daemon started. Output that
// nobody has read waits in the pipes, up to their size, while the process lives.
func (r *Runtime) Reattach(ctx context.Context, id model.ContainerID) (*model.Task, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	p, err := r.known(ctx, id)
	if err != nil {
		return nil, containerd.Fault("reattach", containerd.Describe(id), err)
	}
	key := procKey{container: id}
	f := fifos{stdin: p.Stdin, stdout: p.Stdout, stderr: p.Stderr, tty: p.Terminal}
	in, g, err := r.openInput(key, f)
	if err != nil {
		return nil, err
	}
	started := p.Status != tasktypes.Status_CREATED
	if started {
		g.begun()
	}
	r.keep(key, g)
	r.starting.pause(id, p.Status == tasktypes.Status_PAUSED)
	return &model.Task{Pid: int(p.Pid), Stdin: in, Pipes: f.pipes(), Started: started}, nil
}

// Kill sends a signal to a container's first process, or to all of them. A
// process that has ended is NotFound.
func (r *Runtime) Kill(ctx context.Context, id model.ContainerID, sig syscall.Signal, all bool) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	_, err := r.client.Tasks().Kill(ctx, &tasks.KillRequest{ContainerID: string(id), Signal: uint32(sig), All: all})
	return r.faultOrEnd(ctx, "kill", id, err)
}

// Pause stops all processes of a container where they are. Execs that are being
// started are waited for: runc would be stopped half-way with them, and the shim,
// which waits for runc, would not answer any more.
func (r *Runtime) Pause(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	release, err := r.claims.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	open, err := r.starting.close(ctx, id)
	if err != nil {
		return err
	}
	defer open()
	_, err = r.client.Tasks().Pause(ctx, &tasks.PauseTaskRequest{ContainerID: string(id)})
	if err != nil && r.isIn(ctx, id, tasktypes.Status_PAUSED) {
		err = nil
	}
	r.starting.pause(id, err == nil)
	return r.faultOrEnd(ctx, "pause", id, err)
}

// Resume lets paused processes go on.
func (r *Runtime) Resume(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	return r.faultOrEnd(ctx, "resume", id, r.thaw(ctx, id))
}

func (r *Runtime) thaw(ctx context.Context, id model.ContainerID) error {
	_, err := r.client.Tasks().Resume(ctx, &tasks.ResumeTaskRequest{ContainerID: string(id)})
	if err != nil && r.isIn(ctx, id, tasktypes.Status_RUNNING) {
		err = nil
	}
	r.starting.pause(id, false) // if it has failed, the shim must know
	return err
}

// isIn tells whether a container is in a state, so that a request which was to bring
// it there and failed has done so all the same: containerd may have died between
// deed and answer, and the request was repeated.
func (r *Runtime) isIn(ctx context.Context, id model.ContainerID, want tasktypes.Status) bool {
	p, err := r.known(ctx, id)
	return err == nil && p.Status == want
}

// Pids returns the processes in a container, as the host numbers them.
func (r *Runtime) Pids(ctx context.Context, id model.ContainerID) ([]int, error) {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	answer, err := r.client.Tasks().ListPids(ctx, &tasks.ListPidsRequest{ContainerID: string(id)})
	if err != nil {
		return nil, r.faultOrEnd(ctx, "pids", id, err)
	}
	out := make([]int, 0, len(answer.Processes))
	for _, p := range answer.Processes {
		out = append(out, int(p.Pid))
	}
	return out, nil
}

// Resize sets the size of the container's terminal, in characters.
func (r *Runtime) Resize(ctx context.Context, id model.ContainerID, width, height uint) error {
	return r.resize(ctx, procKey{container: id}, width, height)
}

func (r *Runtime) resize(ctx context.Context, key procKey, width, height uint) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	_, err := r.client.Tasks().ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: string(key.container),
		ExecID: key.exec, Width: uint32(width), Height: uint32(height)})
	return containerd.Fault("resize", containerd.Describe(key.container), err)
}

// CloseStdin ends the input of a container's first process. Closing
// Streams.Stdin does the same.
func (r *Runtime) CloseStdin(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	_, err := r.client.Tasks().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: string(id), Stdin: true})
	return containerd.Fault("stdin", containerd.Describe(id), err)
}

// Update changes the limits of a container, of its process if it has one and for
// its next start. Zero leaves a limit as it is.
func (r *Runtime) Update(ctx context.Context, id model.ContainerID, res model.Resources) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	record, s, err := r.loadSpec(ctx, id)
	if err != nil {
		return err
	}
	var changed specs.LinuxResources
	ocispec.ApplyLimits(&changed, res, r.host)
	if err := r.updateTask(ctx, id, &changed); err != nil {
		return err
	}
	ocispec.ApplyLimits(s.Linux.Resources, res, r.host)
	return r.saveSpec(ctx, record, s)
}

// Renew gives the next first process of a container the environment of spec.
func (r *Runtime) Renew(ctx context.Context, spec model.ContainerSpec) error {
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	record, s, err := r.loadSpec(ctx, spec.ID)
	if err != nil {
		return err
	}
	env := ocispec.Environment(spec.Hostname, spec.Process.TTY, spec.Process.Env)
	if slices.Equal(s.Process.Env, env) {
		return nil
	}
	s.Process.Env = env
	return r.saveSpec(ctx, record, s)
}

// saveSpec makes s what the next first process of a container is made from.
func (r *Runtime) saveSpec(ctx context.Context, record containers.Container, s *specs.Spec) (err error) {
	if record.Spec, err = typeurl.MarshalAny(s); err != nil {
		return fmt.Errorf("pack specification: %w", err)
	}
	_, err = r.client.ContainerService().Update(ctx, record, "spec")
	return containerd.Fault("update", containerd.Describe(model.ContainerID(record.ID)), err)
}

func (r *Runtime) updateTask(ctx context.Context, id model.ContainerID, changed *specs.LinuxResources) error {
	packed, err := typeurl.MarshalAnyToProto(changed)
	if err != nil {
		return fmt.Errorf("pack limits: %w", err)
	}
	_, err = r.client.Tasks().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: string(id), Resources: packed})
	if containerd.IsNotFound(err) {
		return nil // it does not run
	}
	return containerd.Fault("update", containerd.Describe(id), err)
}

// DeleteTask removes the process state of a container and tells how the process
// ended, killing it first if it has not. Read the streams to their end before:
// the shim waits only two seconds for a reader.
//
// NotFound if there is no process; what a start that was cut short has left is
// cleared away then.
func (r *Runtime) DeleteTask(ctx context.Context, id model.ContainerID) (model.Exit, error) {
	release, err := r.claims.take(ctx, id)
	if err != nil {
		return model.Exit{}, err
	}
	defer release()
	exit, err := r.deleteTask(ctx, id)
	if err != nil && model.KindOf(err) != model.NotFound {
		return model.Exit{}, err
	}
	r.forgetAll(id)
	if err := os.RemoveAll(r.fifoDir(id)); err != nil {
		return model.Exit{}, fmt.Errorf("remove streams: %w", err)
	}
	return exit, errors.Join(err, r.unshareMemory(id))
}

// deleteTask is DeleteTask without the streams. The caller has the claim.
func (r *Runtime) deleteTask(ctx context.Context, id model.ContainerID) (model.Exit, error) {
	status, err := r.Status(ctx, id)
	if err != nil {
		return model.Exit{}, err
	}
	if status.State == model.TaskNone {
		ctx, cancel := r.client.Call(ctx)
		defer cancel()
		if err := r.clearRemains(ctx, id); err != nil {
			return model.Exit{}, err
		}
		return model.Exit{}, &model.Error{Op: "runtime.deletetask", Subject: containerd.Describe(id),
			Kind: model.NotFound, Err: fmt.Errorf("no process: %w", os.ErrNotExist)}
	}
	if status.State != model.TaskStopped {
		if err := r.end(ctx, id); err != nil {
			return model.Exit{}, err
		}
	}
	ctx, cancel := r.client.Call(ctx)
	defer cancel()
	oom := r.oomKilled(ctx, id) // before its cgroup goes
	answer, err := r.client.Tasks().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: string(id)})
	if err != nil {
		return model.Exit{}, containerd.Fault("deletetask", containerd.Describe(id), err)
	}
	return model.Exit{Code: int(answer.ExitStatus), At: answer.ExitedAt.AsTime(), OOMKilled: oom}, nil
}

// end kills a container's processes and waits until the first has ended.
func (r *Runtime) end(ctx context.Context, id model.ContainerID) error {
	ctx, cancel := context.WithTimeout(ctx, containerd.CallTimeout)
	defer cancel()
	done, err := r.Wait(ctx, id)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, id, syscall.SIGKILL, true); err != nil && model.KindOf(err) != model.NotFound {
		return err
	}
	// A frozen process (cgroup v1) dies only once it is thawed.
	if err := r.thaw(r.client.Scope(ctx), id); err != nil {
		r.log.Debug("resume before the end", "container", model.Short(id), "op", "runtime.end", "err", err)
	}
	if _, ok := <-done; !ok {
		return containerd.Faultf("deletetask", containerd.Describe(id), "waiting for the process to end",
			errors.Join(ctx.Err(), os.ErrDeadlineExceeded))
	}
	return nil
}
