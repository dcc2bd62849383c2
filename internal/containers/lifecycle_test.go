package containers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

var ctx = context.Background()

// actions returns the container and network events so far.
func (b *bench) actions() []string {
	past, _ := b.Subscribe(ctx, time.Unix(1, 0), time.Time{}, func(events.Message) bool { return true })
	var out []string
	for _, e := range past {
		word := string(e.Action)
		if e.Type == events.NetworkEventType {
			word = "network " + word
		}
		out = append(out, word)
	}
	return out
}

func TestRunAndExit(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	got := b.inspect(id)
	if !got.State.Running || got.State.Status != container.StateRunning || got.State.Pid == 0 {
		t.Fatalf("not running: %+v", got.State)
	}
	ep := got.NetworkSettings.Networks["bridge"]
	if ep == nil || ep.IPAddress.String() != "172.17.0.2" || ep.Gateway.String() != "172.17.0.1" || ep.IPPrefixLen != 16 || ep.EndpointID == "" {
		t.Fatalf("endpoint %+v", ep)
	}
	if want := "/run/netns/" + id[:12]; got.NetworkSettings.SandboxKey != want {
		t.Fatalf("sandbox key %s, want %s", got.NetworkSettings.SandboxKey, want)
	}
	b.end(id, 3)
	got = b.inspect(id)
	if got.State.Status != container.StateExited || got.State.ExitCode != 3 || got.State.Pid != 0 {
		t.Fatalf("after the end: %+v", got.State)
	}
	ep = got.NetworkSettings.Networks["bridge"]
	if ep.IPAddress.IsValid() || ep.EndpointID != "" || got.NetworkSettings.SandboxID != "" {
		t.Fatalf("address of a stopped container: %+v", ep)
	}
	equal(t, "events", b.actions(), []string{"create", "network connect", "start", "network disconnect", "die"})
	if b.runtime.process(id) != nil {
		t.Fatal("the task is still there")
	}
	must(t, b.Start(ctx, id)) // again
	refused(t, b.Start(ctx, id), model.NotModified, "already running")
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	refused(t, b.Remove(ctx, "one", RemoveOptions{}), model.Conflict,
		`cannot remove container "/one": container is running: stop the container before removing or force remove`)
	gone := b.waitFor(id, container.WaitConditionRemoved)
	must(t, b.Remove(ctx, "one", RemoveOptions{Force: true}))
	if code := receive(t, gone).StatusCode; code != 137 {
		t.Fatalf("exit code %d", code)
	}
	refused(t, b.Remove(ctx, "one", RemoveOptions{}), model.NotFound, "No such container: one")
	b.nothingLeft()
	if got := b.actions(); got[len(got)-1] != "destroy" {
		t.Fatalf("events %v", got)
	}
	b.create("one", nil) // the name is free again
}

// nothingLeft checks that no trace of any container is left.
func (b *bench) nothingLeft() {
	b.t.Helper()
	if n := b.engine.count(); n != 0 {
		b.t.Errorf("%d records left", n)
	}
	if len(b.runtime.made) != 0 || len(b.runtime.tasks) != 0 {
		b.t.Errorf("the runtime has %v %v", b.runtime.made, b.runtime.tasks)
	}
	for sb := range b.engine.Snapshot().Sandboxes() {
		b.t.Errorf("sandbox left: %+v", sb)
	}
	entries, err := os.ReadDir(filepath.Join(b.root, "data", "containers"))
	if err != nil || len(entries) != 0 {
		b.t.Errorf("files left: %v %v", entries, err)
	}
}

func TestAutoRemove(t *testing.T) {
	b := newBench(t)
	rm := func(r *CreateRequest) { r.Host.AutoRemove = true }
	id := b.run("one", rm)
	gone := b.waitFor(id, container.WaitConditionRemoved)
	b.runtime.finish(b.runtime.process(id), 7)
	if code := receive(t, gone).StatusCode; code != 7 {
		t.Fatalf("exit code %d", code)
	}
	b.nothingLeft()

	// A start that fails removes it too, and says so.
	id = b.create("two", rm)
	gone = b.waitFor(id, container.WaitConditionRemoved)
	b.runtime.failStart = unstartable(127, `OCI runtime create failed: exec: "x": executable file not found in $PATH`)
	refused(t, b.Start(ctx, id), model.Invalid, "executable file not found")
	if code := receive(t, gone).StatusCode; code != 127 {
		t.Fatalf("exit code %d", code)
	}
	b.nothingLeft()
}

func TestFailedStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    func(*bench)
		kind   model.Kind
		text   string
		status int
	}{
		{"engine", func(b *bench) { b.engine.fail = model.Errorf(model.Forbidden, "Address already in use") },
			model.Forbidden, "failed to set up container networking: Address already in use", 128},
		{"not found", func(b *bench) {
			b.runtime.failStart = unstartable(127, `exec: "nope": executable file not found in $PATH`)
		}, model.Invalid, "executable file not found", 127},
		{"permission", func(b *bench) {
			b.runtime.failStart = unstartable(126, `exec: "/etc": permission denied`)
		}, model.Invalid, "permission denied", 126},
		{"other", func(b *bench) { b.runtime.failStart = errBroken }, model.Internal, "broken", 128},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			id := b.create("one", nil)
			c.set(b)
			refused(t, b.Start(ctx, id), c.kind, c.text)
			got := b.inspect(id)
			if got.State.Status != container.StateCreated || got.State.ExitCode != c.status || !strings.Contains(got.State.Error, c.text) {
				t.Fatalf("state %+v", got.State)
			}
			if sb, _ := b.engine.Snapshot().SandboxOf(model.ContainerID(id)); sb.Up {
				t.Fatal("the sandbox is up")
			}
			if b.runtime.process(id) != nil {
				t.Fatal("a task is left")
			}
			must(t, b.Start(ctx, id)) // nothing stands in the way of the next
		})
	}
}

func TestStopSignals(t *testing.T) {
	b := newBench(t)
	now, soonest := 0, 1
	id := b.run("polite", nil)
	must(t, b.Stop(ctx, id, StopOptions{}))
	if got := b.inspect(id).State.ExitCode; got != 143 {
		t.Fatalf("exit code %d", got)
	}
	refused(t, b.Stop(ctx, id, StopOptions{}), model.NotModified, "already stopped")

	b.runtime.stubborn = true
	id = b.run("stubborn", nil)
	p := b.runtime.process(id)
	must(t, b.Stop(ctx, id, StopOptions{Timeout: &soonest}))
	equal(t, "signals", p.signals, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL})

	id = b.run("atonce", func(r *CreateRequest) { r.Config.StopSignal = "SIGUSR1" })
	p = b.runtime.process(id)
	must(t, b.Stop(ctx, id, StopOptions{Timeout: &now}))
	equal(t, "signals", p.signals, []syscall.Signal{syscall.SIGKILL})
	if got := b.actions(); got[len(got)-1] != "stop" || got[len(got)-2] != "die" {
		t.Fatalf("events %v", got)
	}
	refused(t, b.Stop(ctx, id, StopOptions{Signal: "NOPE"}), model.Invalid, "NOPE")
}

func TestStopGoesOnWithoutItsClient(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	id := b.run("one", nil)
	short, cancel := context.WithCancel(ctx)
	soonest := 1
	done := make(chan error, 1)
	go func() { done <- b.Stop(short, id, StopOptions{Timeout: &soonest}) }()
	p := b.runtime.process(id)
	soon(t, "the signal was sent", func() bool {
		b.runtime.mu.Lock()
		defer b.runtime.mu.Unlock()
		return len(p.signals) > 0
	})
	cancel()
	must(t, receive(t, done))
	if b.inspect(id).State.Running {
		t.Fatal("it runs on")
	}
}

func TestKill(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	refused(t, b.Kill(ctx, id, "SIGNONE"), model.Invalid, "SIGNONE")
	p := b.runtime.process(id)
	must(t, b.Kill(ctx, id, "HUP"))
	must(t, b.Kill(ctx, id, "10"))
	must(t, b.Kill(ctx, id, ""))
	equal(t, "signals", p.signals, []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGKILL})
	refused(t, b.Kill(ctx, id, ""), model.Conflict, "is not running")
}

func TestPause(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	must(t, b.Pause(ctx, id))
	refused(t, b.Pause(ctx, id), model.Conflict, "already paused")
	refused(t, b.Start(ctx, id), model.Conflict, "cannot start a paused container, try unpause instead")
	if _, err := b.CreateExec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}}); model.KindOf(err) != model.Conflict {
		t.Fatalf("exec in a paused container: %v", err)
	}
	if got := b.inspect(id).State.Status; got != container.StatePaused {
		t.Fatalf("status %s", got)
	}
	must(t, b.Unpause(ctx, id))
	refused(t, b.Unpause(ctx, id), model.Conflict, "is not paused")
}

func TestWaitConditions(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	if _, err := b.Wait(ctx, id, "odd"); model.KindOf(err) != model.Invalid {
		t.Fatalf("odd condition: %v", err)
	}
	receive(t, b.waitFor(id, container.WaitConditionNotRunning)) // it does not run
	next := b.waitFor(id, container.WaitConditionNextExit)
	removed := b.waitFor(id, container.WaitConditionRemoved)
	must(t, b.Start(ctx, id))
	not := b.waitFor(id, "")
	select {
	case got := <-next:
		t.Fatalf("next-exit of a running container: %v", got)
	case got := <-not:
		t.Fatalf("not-running of a running container: %v", got)
	default:
	}
	b.runtime.finish(b.runtime.process(id), 5)
	if a, c := receive(t, next), receive(t, not); a.StatusCode != 5 || c.StatusCode != 5 {
		t.Fatalf("codes %d %d", a.StatusCode, c.StatusCode)
	}
	select {
	case got := <-removed:
		t.Fatalf("removed before it was: %v", got)
	default:
	}
	must(t, b.Remove(ctx, id, RemoveOptions{}))
	receive(t, removed)

	id = b.create("two", nil)
	short, cancel := context.WithCancel(ctx)
	given, err := b.Wait(short, id, container.WaitConditionNextExit)
	must(t, err)
	cancel()
	if _, ok := <-given; ok {
		t.Fatal("a wait that was given up answered")
	}
}

func TestRestart(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Host.AutoRemove = true })
	pid := b.inspect(id).State.Pid
	must(t, b.Restart(ctx, id, StopOptions{}))
	got := b.inspect(id)
	if !got.State.Running || got.State.Pid == pid || !got.HostConfig.AutoRemove {
		t.Fatalf("after restart: %+v", got.State)
	}
}

func TestRestartPolicy(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) {
		r.Host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 1}
	})
	first := b.inspect(id).State.Pid
	b.end(id, 1)
	soon(t, "it runs again", func() bool {
		s := b.inspect(id).State
		return s.Status == container.StateRunning && s.Pid != first
	})
	b.end(id, 1)
	if got := b.inspect(id); got.State.Status != container.StateExited || got.RestartCount != 1 {
		t.Fatalf("after the last try: %+v, %d restarts", got.State, got.RestartCount)
	}
	id = b.run("two", func(r *CreateRequest) { r.Host.RestartPolicy.Name = container.RestartPolicyAlways })
	must(t, b.Stop(ctx, id, StopOptions{}))
	if got := b.inspect(id).State.Status; got != container.StateExited {
		t.Fatalf("a stop is a stop: %s", got)
	}
}

func TestRename(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Host.NetworkMode = "web" })
	b.create("two", nil)
	refused(t, b.Rename(ctx, id, "two"), model.Conflict, "Error when allocating new name: Conflict. The container name \"/two\" is already in use")
	refused(t, b.Rename(ctx, id, "one"), model.Invalid, "same name as its current name")
	refused(t, b.Rename(ctx, id, "b@d"), model.Invalid, "Invalid container name (b@d)")
	must(t, b.Rename(ctx, "one", "uno"))
	got := b.inspect("uno")
	if got.Name != "/uno" || got.NetworkSettings.Networks["web"].DNSNames[0] != "uno" {
		t.Fatalf("renamed: %s %v", got.Name, got.NetworkSettings.Networks["web"].DNSNames)
	}
	b.create("one", nil)
}

func TestUpdateAndPrune(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	_, err := b.Update(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: 64 << 20}})
	refused(t, err, model.Conflict, "Cannot update container "+id+": Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	_, err = b.Update(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: 64 << 20, MemorySwap: -1},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}})
	must(t, err)
	if h := b.inspect(id).HostConfig; h.Memory != 64<<20 || !h.RestartPolicy.IsAlways() {
		t.Fatalf("updated: %d %v", h.Memory, h.RestartPolicy)
	}
	_, err = b.Update(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: 1024}})
	refused(t, err, model.Invalid, "Minimum memory limit allowed is 6MB")
	old := b.create("old", nil)
	b.create("kept", func(r *CreateRequest) { r.Config.Labels = map[string]string{"keep": "yes"} })
	report, err := b.Prune(ctx, Filters{"label!": {"keep=yes"}})
	must(t, err)
	equal(t, "pruned", report.ContainersDeleted, []string{old})
	_, err = b.Prune(ctx, Filters{"odd": {"1"}})
	refused(t, err, model.Invalid, "invalid filter 'odd'")
}

// TestRemovalFinishedLater: the runtime's daemon is away for a moment. Who removes
// need not know, and nothing stays.
func TestRemovalFinishedLater(t *testing.T) {
	b := newBench(t)
	id := b.create("one", nil)
	must(t, b.Start(ctx, id))
	must(t, b.Stop(ctx, id, StopOptions{}))
	temporary := b.run("two", func(r *CreateRequest) { r.Host.AutoRemove = true })
	b.runtime.busy = 3
	must(t, b.Remove(ctx, id, RemoveOptions{}))
	gone := b.waitFor(temporary, container.WaitConditionRemoved)
	b.runtime.finish(b.runtime.process(temporary), 0)
	receive(t, gone)
	if len(b.runtime.made) != 2 {
		t.Fatalf("the runtime has %v", b.runtime.made)
	}
	b.create("one", nil) // the name is free
	must(t, b.Remove(ctx, "one", RemoveOptions{}))
	soon(t, "the rest is removed", func() bool {
		have, err := b.runtime.List(ctx)
		return err == nil && len(have) == 0
	})
	b.nothingLeft()
}

// TestHalfMade: the runtime made a container, and its answer was lost.
func TestHalfMade(t *testing.T) {
	b := newBench(t)
	lost := model.Errorf(model.Unavailable, "connection refused")
	id := b.create("one", nil)
	b.runtime.halfMade = lost
	refused(t, b.Start(ctx, id), model.Unavailable, "connection refused")
	must(t, b.Start(ctx, id))
	must(t, b.Remove(ctx, id, RemoveOptions{Force: true}))
	id = b.create("two", nil)
	b.runtime.halfMade = lost
	refused(t, b.Start(ctx, id), model.Unavailable, "connection refused")
	must(t, b.Remove(ctx, id, RemoveOptions{}))
	b.nothingLeft()
}
