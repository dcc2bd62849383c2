package workload

import (
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// freezeRestarts makes the next automatic restart wait as long as any can.
func (b *bench) freezeRestarts(id string) {
	b.t.Helper()
	box, err := b.find(id)
	must(b.t, err)
	box.mu.Lock()
	defer box.mu.Unlock()
	box.pause = restartLast
}

func always(r *CreateRequest) { r.Host.RestartPolicy.Name = container.RestartPolicyAlways }

func TestPauseBeforeRestart(t *testing.T) {
	b := &box{}
	at := time.Unix(1000, 0)
	for i, step := range []struct{ up, pause time.Duration }{
		{0, 100 * time.Millisecond}, {0, 200 * time.Millisecond}, {time.Second, 400 * time.Millisecond}, {9 * time.Second, 800 * time.Millisecond},
		{10 * time.Second, 100 * time.Millisecond}, // a calm run forgives
		{0, 200 * time.Millisecond}, {0, 400 * time.Millisecond}, {0, 800 * time.Millisecond}, {0, 1600 * time.Millisecond},
		{0, 3200 * time.Millisecond}, {0, 6400 * time.Millisecond}, {0, 12800 * time.Millisecond}, {0, 25600 * time.Millisecond},
		{0, 51200 * time.Millisecond}, {0, time.Minute}, {0, time.Minute}, {time.Hour, 100 * time.Millisecond},
	} {
		b.rec.State.StartedAt, b.rec.State.FinishedAt = at, at.Add(step.up)
		if got := b.nextPause(); got != step.pause {
			t.Errorf("step %d: %v, want %v", i, got, step.pause)
		}
	}
}

func TestWantsRestart(t *testing.T) {
	for _, c := range []struct {
		policy  container.RestartPolicyMode
		max     int
		count   int
		stopped bool
		code    int
		want    bool
		boot    bool
	}{
		{policy: "", code: 1},
		{policy: "no", code: 1},
		{policy: "always", want: true, boot: true},
		{policy: "always", code: 1, want: true, boot: true},
		{policy: "always", code: 1, stopped: true, boot: true}, // only the daemon brings it back
		{policy: "unless-stopped", want: true, boot: true},
		{policy: "unless-stopped", code: 137, stopped: true},
		{policy: "on-failure", code: 0},
		{policy: "on-failure", code: 1, want: true},
		{policy: "on-failure", code: 1, count: 100, want: true},
		{policy: "on-failure", max: 3, count: 2, code: 1, want: true},
		{policy: "on-failure", max: 3, count: 3, code: 1},
		{policy: "on-failure", code: 1, stopped: true},
	} {
		r := record{RestartCount: c.count, Stopped: c.stopped, Host: &container.HostConfig{
			RestartPolicy: container.RestartPolicy{Name: c.policy, MaximumRetryCount: c.max}}}
		if got := wantsRestart(r, model.Exit{Code: c.code}); got != c.want {
			t.Errorf("%+v: restart %v", c, got)
		}
		if got := wantsBoot(r); got != c.boot {
			t.Errorf("%+v: with the daemon %v", c, got)
		}
	}
}

// TestVerbsOnRestarting: a container that waits for its restart has no process.
func TestVerbsOnRestarting(t *testing.T) {
	b := newBench(t)
	waiting := func(name string) string {
		id := b.run(name, always)
		b.freezeRestarts(id)
		b.end(id, 1)
		if got := b.inspect(id); got.State.Status != container.StateRestarting || !got.State.Running || got.RestartCount != 1 {
			t.Fatalf("%+v, %d restarts", got.State, got.RestartCount)
		}
		return id
	}
	id := waiting("one")
	refused(t, b.Start(ctx, id), model.NotModified, "")
	if got := b.inspect(id).RestartCount; got != 1 {
		t.Fatalf("a start that did nothing set the restarts to %d", got)
	}
	refused(t, b.Pause(ctx, id), model.Conflict, "is restarting, wait until the container is running")
	refused(t, b.Remove(ctx, id, RemoveOptions{}), model.Conflict, "container is restarting: stop the container before removing or force remove")
	done := b.waitFor(id, "")
	must(t, b.Stop(ctx, id, StopOptions{}))
	if got := receive(t, done).StatusCode; got != 1 {
		t.Fatalf("exit code %d", got)
	}
	if got := b.inspect(id).State.Status; got != container.StateExited {
		t.Fatalf("stopped and %s", got)
	}

	id = waiting("two")
	must(t, b.Kill(ctx, id, ""))
	if got := b.inspect(id).State.Status; got != container.StateExited {
		t.Fatalf("killed and %s", got)
	}

	id = waiting("three")
	must(t, b.Restart(ctx, id, StopOptions{}))
	if got := b.inspect(id); got.State.Status != container.StateRunning || got.RestartCount != 0 {
		t.Fatalf("restarted by the user: %+v, %d restarts", got.State, got.RestartCount)
	}

	id = waiting("four")
	must(t, b.Remove(ctx, id, RemoveOptions{Force: true}))
}

func TestRestartThatFails(t *testing.T) {
	b := newBench(t)
	id := b.run("one", always)
	b.runtime.failStart = errBroken
	b.end(id, 1)
	receive(t, b.waitFor(id, "")) // does not wait for ever
	if got := b.inspect(id).State; got.Running || got.Error == "" {
		t.Fatalf("state %+v", got)
	}
}

func TestUpdateOfRestartPolicy(t *testing.T) {
	b := newBench(t)
	set := func(id string, p container.RestartPolicy) error {
		_, err := b.Update(ctx, id, container.UpdateConfig{RestartPolicy: p})
		return err
	}
	id := b.run("one", nil)
	must(t, set(id, container.RestartPolicy{Name: "always"}))
	b.freezeRestarts(id)
	b.end(id, 0)
	if got := b.inspect(id).State.Status; got != container.StateRestarting {
		t.Fatalf("always, and %s", got)
	}
	must(t, b.Restart(ctx, id, StopOptions{}))
	must(t, set(id, container.RestartPolicy{})) // says nothing
	if got := b.inspect(id).HostConfig.RestartPolicy.Name; got != "always" {
		t.Fatalf("policy %q", got)
	}
	must(t, set(id, container.RestartPolicy{Name: "no"}))
	b.end(id, 1)
	if got := b.inspect(id).State.Status; got != container.StateExited {
		t.Fatalf("no, and %s", got)
	}
	refused(t, set(id, container.RestartPolicy{Name: "sometimes"}), model.Invalid, "sometimes")
	refused(t, set(id, container.RestartPolicy{Name: "always", MaximumRetryCount: 3}), model.Invalid, "maximum retry count")
	id = b.run("two", func(r *CreateRequest) { r.Host.AutoRemove = true })
	refused(t, set(id, container.RestartPolicy{Name: "always"}), model.Invalid, "Restart policy cannot be updated because AutoRemove is enabled for the container")
}

func TestStopTerms(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	now := 0
	soonest := 1
	for _, c := range []struct {
		name   string
		change func(*container.Config)
		o      StopOptions
		want   []syscall.Signal
	}{
		{"own signal", func(c *container.Config) { c.StopSignal, c.StopTimeout = "INT", &soonest }, StopOptions{}, []syscall.Signal{syscall.SIGINT, syscall.SIGKILL}},
		{"own timeout of nothing", func(c *container.Config) { c.StopTimeout = &now }, StopOptions{}, []syscall.Signal{syscall.SIGKILL}},
		{"signal of the request", func(c *container.Config) { c.StopSignal = "INT" }, StopOptions{Signal: "SIGQUIT", Timeout: &soonest}, []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL}},
		{"real-time signal", nil, StopOptions{Signal: "RTMIN+3", Timeout: &soonest}, []syscall.Signal{37, syscall.SIGKILL}},
	} {
		id := b.run("", func(r *CreateRequest) {
			if c.change != nil {
				c.change(r.Config)
			}
		})
		p := b.runtime.process(id)
		must(t, b.Stop(ctx, id, c.o))
		equal(t, c.name, p.signals, c.want)
	}
	rec := record{Config: &container.Config{}}
	if sig, timeout, err := b.stopTerms(rec, StopOptions{}); sig != syscall.SIGTERM || timeout != 10 || err != nil {
		t.Errorf("by default %v %d %v", sig, timeout, err)
	}
	endless := -1
	if _, timeout, _ := b.stopTerms(rec, StopOptions{Timeout: &endless}); timeout >= 0 {
		t.Errorf("for ever is %d", timeout)
	}
	refused(t, b.Kill(ctx, b.run("", nil), "NOPE"), model.Invalid, "NOPE")
}

// TestEndOfPaused: a frozen process gets its signal when it is thawed.
func TestEndOfPaused(t *testing.T) {
	b := newBench(t)
	for name, end := range map[string]func(id string) error{
		"stop": func(id string) error { return b.Stop(ctx, id, StopOptions{}) },
		"kill": func(id string) error { return b.Kill(ctx, id, "") },
	} {
		id := b.run("", nil)
		must(t, b.Pause(ctx, id))
		must(t, end(id))
		if got := b.inspect(id).State; got.Running || got.Paused || got.Status != container.StateExited {
			t.Errorf("%s of a paused container: %+v", name, got)
		}
	}
	id := b.run("", nil)
	must(t, b.Pause(ctx, id))
	must(t, b.Restart(ctx, id, StopOptions{}))
	if got := b.inspect(id).State; got.Status != container.StateRunning {
		t.Errorf("restart of a paused container: %+v", got)
	}
	must(t, b.Pause(ctx, id))
	must(t, b.Remove(ctx, id, RemoveOptions{Force: true}))
}

// TestEndWhileAway: what ended without a daemon ended when and how the runtime
// says.
func TestEndWhileAway(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	limited := b.run("limited", func(r *CreateRequest) {
		r.Host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 1}
	})
	at := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	b.reopen(func() {
		for _, one := range []string{id, limited} {
			p := b.runtime.process(one)
			b.runtime.finish(p, 42)
			p.result.At, p.result.OOMKilled = at, true
		}
	})
	if got := b.inspect(id).State; got.ExitCode != 42 || got.FinishedAt != at.Format(time.RFC3339Nano) || !got.OOMKilled || got.Running {
		t.Errorf("state %+v, want the end at %v", got, at)
	}
	soon(t, "the policy holds", func() bool { return b.inspect(limited).State.Status == container.StateRunning })
	b.end(limited, 42)
	if got := b.inspect(limited); got.State.Status != container.StateExited || got.RestartCount != 1 {
		t.Errorf("an end without a daemon counts: %+v, %d restarts", got.State, got.RestartCount)
	}
}
