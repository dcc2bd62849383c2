package runtime

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

const (
	// exitVanished is the code reported for a process whose end nobody saw,
	// because its shim died with it: that of SIGKILL, as containerd does.
	exitVanished = 137

	retryLast = 2 * time.Second
)

// Wait returns a channel that yields how a container's first process ended, or
// is closed without a word if ctx is done or the runtime closed first. It outlives containerd: it asks
// again once containerd is back. NotFound if there is no process.
func (r *Runtime) Wait(ctx context.Context, id model.ContainerID) (<-chan model.Exit, error) {
	return r.wait(ctx, procKey{container: id})
}

// WaitExec is Wait for an exec.
func (r *Runtime) WaitExec(ctx context.Context, id model.ContainerID, exec string) (<-chan model.Exit, error) {
	return r.wait(ctx, procKey{container: id, exec: exec})
}

func (r *Runtime) wait(ctx context.Context, key procKey) (<-chan model.Exit, error) {
	look, cancel := r.client.Call(ctx)
	defer cancel()
	_, err := r.client.Tasks().Get(look, &tasks.GetRequest{ContainerID: string(key.container), ExecID: key.exec})
	if err != nil {
		return nil, containerd.Fault("wait", containerd.Describe(key.container), err)
	}
	out := make(chan model.Exit, 1)
	ctx, end := context.WithCancel(r.client.Scope(ctx))
	ok := r.spawn(func() {
		defer close(out)
		defer end()
		if exit, ok := r.awaitExit(ctx, key); ok {
			out <- exit
		}
	}) && r.spawn(func() {
		select {
		case <-r.done:
			end()
		case <-ctx.Done():
		}
	})
	if !ok {
		end()
		return nil, model.Errorf(model.Unavailable, "the runtime is closed")
	}
	return out, nil
}

// awaitExit asks containerd until it knows; false if ctx was done first.
func (r *Runtime) awaitExit(ctx context.Context, key procKey) (model.Exit, bool) {
	request := &tasks.WaitRequest{ContainerID: string(key.container), ExecID: key.exec}
	for wait := containerd.RetryFirst; ; wait = min(2*wait, retryLast) {
		answer, err := r.client.Tasks().Wait(ctx, request)
		switch {
		case err == nil:
			exit := model.Exit{Code: int(answer.ExitStatus), At: answer.ExitedAt.AsTime()}
			if key.exec == "" {
				exit.OOMKilled = r.oomKilled(ctx, key.container)
			}
			return exit, true
		case ctx.Err() != nil:
			return model.Exit{}, false
		case containerd.IsNotFound(err):
			return model.Exit{Code: exitVanished, At: time.Now()}, true
		case !containerd.IsGone(err):
			r.log.Warn("wait for exit", "container", model.Short(key.container), "op", "runtime.wait", "err", err)
		}
		select {
		case <-ctx.Done():
			return model.Exit{}, false
		case <-time.After(wait):
		}
	}
}

// oomKilled tells whether the kernel killed a process of the container for lack
// of memory, by the counter in its cgroup (memory.oom_control of v1,
// memory.events of v2). Unlike an event this cannot come too late or get lost;
// it is there until DeleteTask.
func (r *Runtime) oomKilled(ctx context.Context, id model.ContainerID) bool {
	_, s, err := r.loadSpec(ctx, id)
	if err != nil || s.Linux == nil {
		return false
	}
	file := filepath.Join(ocispec.CgroupRoot, "memory", s.Linux.CgroupsPath, "memory.oom_control")
	if r.host.Cgroup2 {
		file = filepath.Join(ocispec.CgroupRoot, s.Linux.CgroupsPath, "memory.events")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	return oomCount(string(raw)) > 0
}

// oomCount reads the line "oom_kill N".
func oomCount(text string) int {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "oom_kill" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
