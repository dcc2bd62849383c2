package containers

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// prepared makes an exec that is not started.
func (b *bench) prepared(id string) string {
	b.t.Helper()
	e, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"sh"}})
	must(b.t, err)
	return e
}

func TestExecByStateOfContainer(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Host.RestartPolicy.Name = container.RestartPolicyAlways })
	e := b.prepared(id)
	try := func(kind model.Kind, text string) {
		t.Helper()
		_, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"sh"}})
		refused(t, err, kind, text)
		refused(t, b.ExecReady(e), kind, text)
		refused(t, b.ResizeExec(ctx, e, 80, 25), kind, text)
		refused(t, b.StartExec(ctx, e, ExecStart{Detach: true}, Streams{}), kind, text)
	}
	must(t, b.Pause(ctx, id))
	try(model.Conflict, "container "+id+" is paused, unpause the container before exec")
	must(t, b.Unpause(ctx, id))
	must(t, b.ExecReady(e))

	b.freezeRestarts(id)
	b.end(id, 1)
	try(model.Conflict, "container "+id+" is restarting, wait until the container is running")
	must(t, b.Stop(ctx, id, StopOptions{}))
	try(model.Conflict, "container "+id+" is not running")
	refused(t, b.ExecReady("nobody"), model.NotFound, "No such exec instance: nobody")
}

// TestResizeStorm: sizes come from before the process is there until after it has
// gone; none is lost in a deadlock, and each has an answer that Docker gives.
func TestResizeStorm(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	refused(t, b.Resize(ctx, id, 80, 25), model.Conflict, "is not running")
	must(t, b.Start(ctx, id))
	e := b.prepared(id)
	var done, good atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			defer done.Add(1)
			if err := b.ResizeExec(ctx, e, 80, 25); err == nil {
				good.Add(1)
			} else if model.KindOf(err) != model.Conflict {
				t.Error(err)
			}
			if err := b.Resize(ctx, id, 80, 25); err != nil && model.KindOf(err) != model.Conflict {
				t.Error(err)
			}
		})
	}
	must(t, b.StartExec(ctx, e, ExecStart{Detach: true}, Streams{}))
	p := b.exec(e)
	soon(t, "a size is set", func() bool { return good.Load() > 0 })
	b.runtime.finish(p, 0)
	all.Wait()
	soon(t, "its end is recorded", func() bool {
		got, err := b.InspectExec(ctx, e)
		return err == nil && got.ExitCode != nil
	})
	refused(t, b.ResizeExec(ctx, e, 80, 25), model.Conflict, "is not running")
	b.end(id, 0)
	refused(t, b.Resize(ctx, id, 80, 25), model.Conflict, "is not running")
	refused(t, b.ResizeExec(ctx, e, 80, 25), model.Conflict, "container "+id+" is not running")
}

func TestExecExitCodes(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	code := func(e string) int {
		t.Helper()
		soon(t, "its end is recorded", func() bool { got, err := b.InspectExec(ctx, e); return err == nil && got.ExitCode != nil })
		got, err := b.InspectExec(ctx, e)
		must(t, err)
		return *got.ExitCode
	}
	for failed, want := range map[error]int{
		unstartable(127, `OCI runtime exec failed: exec: "x": executable file not found in $PATH`): 127,
		unstartable(126, `OCI runtime exec failed: exec: "/etc": permission denied`):               126,
		model.Errorf(model.Internal, "something else"):                                             126,
	} {
		e := b.prepared(id)
		b.runtime.failStart = failed
		if err := b.StartExec(ctx, e, ExecStart{}, Streams{}); err == nil || code(e) != want {
			t.Errorf("%s: code %d, want %d", failed, code(e), want)
		}
	}
	e := b.prepared(id)
	must(t, b.StartExec(ctx, e, ExecStart{Detach: true}, Streams{}))
	b.exec(e)
	must(t, b.runtime.KillExec(ctx, model.ContainerID(id), e, syscall.SIGKILL))
	if got := code(e); got != 137 {
		t.Errorf("killed: code %d", got)
	}
}

// TestVerbsOnDying: between the end of a process and its record there is nothing
// to act on.
func TestVerbsOnDying(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	b.runtime.dying = true
	e := b.prepared(id)
	for name, err := range map[string]error{
		"exec":   b.StartExec(ctx, e, ExecStart{Detach: true}, Streams{}),
		"resize": b.Resize(ctx, id, 80, 25),
		"pause":  b.Pause(ctx, id),
	} {
		if model.KindOf(err) != model.Conflict || !strings.Contains(err.Error(), "container "+id+" is not running") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.inspect(id).State.Paused {
		t.Error("it is paused")
	}
}
