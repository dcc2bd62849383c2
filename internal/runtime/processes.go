package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

const (
	// exitVanished is the code reported for a process whose end nobody saw,
	// because its shim died with it: that of SIGKILL, as containerd does.
	exitVanished = 137

	// knownTimeout bounds the wait for a shim to say how its process is, and
	// allKnownTimeout that for all of a list.
	knownTimeout    = time.Minute
	allKnownTimeout = 5 * time.Second
	// endSeen is how long the shim may take to see that a process has ended.
	endSeen = 2 * time.Second
	// retryLast is the longest pause before containerd is asked again how a process ended.
	retryLast = 2 * time.Second
)

// storedSpecs are the OCI specifications from which containers' first processes are made.
type storedSpecs struct {
	client *containerd.Client
}

// load reads the OCI specification that Create stored.
func (s storedSpecs) load(ctx context.Context, id model.ContainerID) (containers.Container, *specs.Spec, error) {
	c, err := s.client.ContainerService().Get(ctx, string(id))
	if err != nil {
		return c, nil, containerd.Fault("load", containerd.Describe(id), err)
	}
	var out specs.Spec
	if err := typeurl.UnmarshalTo(c.Spec, &out); err != nil {
		return c, nil, fmt.Errorf("read the specification of %s: %w", containerd.Describe(id), err)
	}
	return c, &out, nil
}

// save makes spec what the next first process of a container is made from.
func (s storedSpecs) save(ctx context.Context, record containers.Container, spec *specs.Spec) (err error) {
	if record.Spec, err = typeurl.MarshalAny(spec); err != nil {
		return fmt.Errorf("pack specification: %w", err)
	}
	_, err = s.client.ContainerService().Update(ctx, record, "spec")
	return containerd.Fault("update", containerd.Describe(model.ContainerID(record.ID)), err)
}

// processes asks containerd about processes.
type processes struct {
	client  *containerd.Client
	specs   storedSpecs
	cgroup2 bool
	life    *life
	log     *slog.Logger
}

// Status returns the state of one container; NotFound if there is none.
func (ps *processes) Status(ctx context.Context, id model.ContainerID) (model.TaskStatus, error) {
	ctx, cancel := ps.client.Call(ctx)
	defer cancel()
	p, err := ps.known(ctx, id)
	if err == nil {
		return ps.status(ctx, id, p), nil
	}
	if !containerd.IsNotFound(err) {
		return model.TaskStatus{}, containerd.Fault("status", containerd.Describe(id), err)
	}
	if _, err := ps.client.ContainerService().Get(ctx, string(id)); err != nil {
		return model.TaskStatus{}, containerd.Fault("status", containerd.Describe(id), err)
	}
	return model.TaskStatus{ID: id, State: model.TaskNone}, nil
}

// status translates containerd's words.
func (ps *processes) status(ctx context.Context, id model.ContainerID, p *tasktypes.Process) model.TaskStatus {
	out := model.TaskStatus{ID: id, Pid: int(p.Pid), State: model.TaskUnknown}
	switch p.Status {
	case tasktypes.Status_CREATED:
		out.State = model.TaskCreated
	case tasktypes.Status_RUNNING:
		out.State = model.TaskRunning
	case tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		out.State = model.TaskPaused
	case tasktypes.Status_STOPPED:
		out.State, out.Pid = model.TaskStopped, 0
		out.Exit = model.Exit{Code: int(p.ExitStatus), At: p.ExitedAt.AsTime(), OOMKilled: ps.oomKilled(ctx, id)}
	case tasktypes.Status_UNKNOWN:
	}
	return out
}

// known asks for a process until containerd knows how it is. It waits two seconds
// for the shim, and then answers UNKNOWN with neither a pid nor streams: on a busy
// machine that is no more than "later". Unavailable if it stays so.
func (ps *processes) known(ctx context.Context, id model.ContainerID) (*tasktypes.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	for {
		answer, err := ps.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
		if err != nil {
			return nil, err
		}
		if p := answer.Process; !vague(p) {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, model.Errorf(model.Unavailable, "the shim of %s does not answer: %w", containerd.Describe(id), context.Cause(ctx))
		case <-time.After(containerd.RetryFirst):
		}
	}
}

func vague(p *tasktypes.Process) bool {
	return p.Status == tasktypes.Status_UNKNOWN || p.Status == tasktypes.Status_RUNNING && p.Pid == 0
}

// allKnown returns processes by container, asking again for those that containerd
// did not know. Those that stay unknown are given as they are.
func (ps *processes) allKnown(ctx context.Context, list []*tasktypes.Process) (map[string]*tasktypes.Process, error) {
	out := make(map[string]*tasktypes.Process, len(list))
	ctx, cancel := context.WithTimeout(ctx, allKnownTimeout)
	defer cancel()
	for _, p := range list {
		if vague(p) {
			now, err := ps.known(ctx, model.ContainerID(p.ID))
			switch {
			case err == nil:
				p = now
			case containerd.IsNotFound(err):
				continue
			case containerd.KindOf(err) != model.Unavailable && ctx.Err() == nil:
				return nil, err
			}
		}
		out[p.ID] = p
	}
	return out, nil
}

func (ps *processes) wait(ctx context.Context, key procKey) (<-chan model.Exit, error) {
	look, cancel := ps.client.Call(ctx)
	defer cancel()
	_, err := ps.client.Tasks().Get(look, &tasks.GetRequest{ContainerID: string(key.container), ExecID: key.exec})
	if err != nil {
		return nil, containerd.Fault("wait", containerd.Describe(key.container), err)
	}
	out := make(chan model.Exit, 1)
	ctx, end := context.WithCancel(ps.client.Scope(ctx))
	ok := ps.life.spawn(func() {
		defer close(out)
		defer end()
		if exit, ok := ps.awaitExit(ctx, key); ok {
			out <- exit
		}
	}) && ps.life.spawn(func() {
		select {
		case <-ps.life.done:
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
func (ps *processes) awaitExit(ctx context.Context, key procKey) (model.Exit, bool) {
	request := &tasks.WaitRequest{ContainerID: string(key.container), ExecID: key.exec}
	for wait := containerd.RetryFirst; ; wait = min(2*wait, retryLast) {
		answer, err := ps.client.Tasks().Wait(ctx, request)
		switch {
		case err == nil:
			exit := model.Exit{Code: int(answer.ExitStatus), At: answer.ExitedAt.AsTime()}
			if key.exec == "" {
				exit.OOMKilled = ps.oomKilled(ctx, key.container)
			}
			return exit, true
		case ctx.Err() != nil:
			return model.Exit{}, false
		case containerd.IsNotFound(err):
			return model.Exit{Code: exitVanished, At: time.Now()}, true
		case !containerd.IsGone(err):
			ps.log.Warn("wait for exit", "container", model.Short(key.container), "op", "runtime.wait", "err", err)
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
func (ps *processes) oomKilled(ctx context.Context, id model.ContainerID) bool {
	_, s, err := ps.specs.load(ctx, id)
	if err != nil || s.Linux == nil {
		return false
	}
	file := filepath.Join(ocispec.CgroupRoot, "memory", s.Linux.CgroupsPath, "memory.oom_control")
	if ps.cgroup2 {
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

// faultOrEnd is Fault for what needs a container that runs: NotFound if it could not be
// done because the container has just ended.
func (ps *processes) faultOrEnd(ctx context.Context, op string, id model.ContainerID, err error) error {
	if err != nil && ps.diedUnder(ctx, id, err) {
		return model.Errorf(model.NotFound, "%s ended meanwhile: %w", containerd.Describe(id), containerd.Native(err))
	}
	return containerd.Fault(op, containerd.Describe(id), err)
}

// diedUnder tells whether something failed because the container's first process has
// just ended. runc's words for it are many, and may be about files that are no more:
// the state of the container counts, which the shim may see a little later.
func (ps *processes) diedUnder(ctx context.Context, id model.ContainerID, err error) bool {
	patience := time.Duration(0)
	if containerd.SaysMayHaveEnded(err) {
		patience = endSeen
	}
	for end := time.Now().Add(patience); ; time.Sleep(containerd.RetryFirst) {
		answer, err := ps.client.Tasks().Get(ctx, &tasks.GetRequest{ContainerID: string(id)})
		if containerd.IsNotFound(err) || err == nil && answer.Process.Status == tasktypes.Status_STOPPED {
			return true
		}
		if ctx.Err() != nil || time.Now().After(end) {
			return false
		}
	}
}

func (ps *processes) resize(ctx context.Context, key procKey, width, height uint) error {
	ctx, cancel := ps.client.Call(ctx)
	defer cancel()
	_, err := ps.client.Tasks().ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: string(key.container),
		ExecID: key.exec, Width: uint32(width), Height: uint32(height)})
	return containerd.Fault("resize", containerd.Describe(key.container), err)
}
