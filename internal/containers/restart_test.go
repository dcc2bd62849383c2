package containers

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containers/ocierror"
	"github.com/linkspan/linkspan/internal/lifecycle"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// freezeRestarts makes the next automatic restart wait as long as any can.
func (b *bench) freezeRestarts(id string) {
	b.t.Helper()
	entry, err := b.find(id)
	must(b.t, err)
	entry.mu.Lock()
	defer entry.mu.Unlock()
	entry.pause = restartLast
}

func always(r *CreateRequest) { r.Host.RestartPolicy.Name = container.RestartPolicyAlways }

func TestPauseBeforeRestart(t *testing.T) {
	b := &entry{}
	for i, step := range []struct{ up, pause time.Duration }{
		{0, 100 * time.Millisecond}, {0, 200 * time.Millisecond}, {time.Second, 400 * time.Millisecond}, {9 * time.Second, 800 * time.Millisecond},
		{10 * time.Second, 100 * time.Millisecond}, // a calm run forgives
		{0, 200 * time.Millisecond}, {0, 400 * time.Millisecond}, {0, 800 * time.Millisecond}, {0, 1600 * time.Millisecond},
		{0, 3200 * time.Millisecond}, {0, 6400 * time.Millisecond}, {0, 12800 * time.Millisecond}, {0, 25600 * time.Millisecond},
		{0, 51200 * time.Millisecond}, {0, time.Minute}, {0, time.Minute}, {time.Hour, 100 * time.Millisecond},
	} {
		if got := b.nextPause(step.up); got != step.pause {
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
		_, do := lifecycle.Next(r.life(), lifecycle.Event{What: lifecycle.Ended, Code: c.code})
		if got := do.Restart; got != c.want {
			t.Errorf("%+v: restart %v", c, got)
		}
		r.State.StartedAt = time.Unix(1, 0)
		_, do = lifecycle.Next(r.life(), lifecycle.Event{What: lifecycle.Restored})
		if got := do.Restart; got != c.boot {
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

// errAddress is what the engine says of a published address that is not there.
var errAddress = networkingError(model.Errorf(model.Unfit,
	"driver failed programming external connectivity on endpoint one (0123abcd): failed to bind host port 192.0.2.1:80/tcp: cannot assign requested address"))

// TestRestartThatFails: a start by the policy that fails is tried again until it
// works, and all who ask are told what the container waits for.
func TestRestartThatFails(t *testing.T) {
	b := newBench(t)
	id := b.run("one", always)
	b.runtime.refuse(errAddress)
	b.end(id, 1)
	soon(t, "the third start", func() bool { return b.runtime.tried() >= 3 })
	soon(t, "between two starts", func() bool { return b.inspect(id).State.ExitCode == ocierror.Unknown })
	got := b.inspect(id)
	if s := got.State; s.Status != container.StateRestarting || !s.Running || !s.Restarting || !strings.HasSuffix(s.Error, "cannot assign requested address") || got.RestartCount != 1 {
		t.Fatalf("state %+v, %d restarts", s, got.RestartCount)
	}
	list, err := b.List(ctx, ListOptions{}) // also without all
	must(t, err)
	if want := ": failed to bind host port 192.0.2.1:80/tcp: cannot assign requested address"; len(list) != 1 ||
		!strings.HasPrefix(list[0].Status, "Restarting (128) ") || !strings.HasSuffix(list[0].Status, "ago"+want) {
		t.Fatalf("list %+v", list)
	}
	done := b.waitFor(id, "")
	b.runtime.refuse(nil)
	soon(t, "it runs", func() bool { return b.inspect(id).State.Status == container.StateRunning })
	if got := b.inspect(id); got.State.Error != "" || got.RestartCount != 1 {
		t.Fatalf("it runs, and the state is %+v, %d restarts", got.State, got.RestartCount)
	}
	must(t, b.Stop(ctx, id, StopOptions{}))
	receive(t, done)
}

// TestRestartOfWhatLacks: a start by the policy that fails is not tried again once a network or a container that it needs
// was removed.
func TestRestartOfWhatLacks(t *testing.T) {
	b := newBench(t)
	other := b.run("other", nil)
	living(b, other)
	for name, c := range map[string]struct {
		joins  func(*container.HostConfig)
		remove func() error
		says   string
	}{
		"network": {func(h *container.HostConfig) { h.NetworkMode = "web" }, func() error {
			_, err := b.engine.Do(ctx, ops.RemoveNetwork("web"))
			return err
		}, "network web not found"},
		"container": {func(h *container.HostConfig) { h.PidMode = container.PidMode("container:" + other) }, func() error {
			return b.Remove(ctx, other, RemoveOptions{Force: true})
		}, "No such container: " + other},
	} {
		id := b.run(name, func(r *CreateRequest) { always(r); c.joins(r.Host) })
		b.runtime.refuse(errAddress)
		b.end(id, 1)
		soon(t, "a start that fails", func() bool { return b.inspect(id).State.Error != "" })
		done := b.waitFor(id, "")
		entry, err := b.find(id)
		must(t, err)
		entry.opLock.acquireNow() // between two starts
		must(t, c.remove())
		b.runtime.refuse(nil)
		entry.opLock.release()
		receive(t, done) // does not wait for ever
		if s := b.inspect(id).State; s.Running || s.Status != container.StateExited || !strings.HasSuffix(s.Error, c.says) {
			t.Errorf("%s: state %+v", name, s)
		}
	}
}

// TestEndsOfTheWait: a stop, a kill and a removal by force end it at once, and it
// stays ended.
func TestEndsOfTheWait(t *testing.T) {
	for name, end := range map[string]func(*bench, string) error{
		"stop":   func(b *bench, id string) error { return b.Stop(ctx, id, StopOptions{}) },
		"kill":   func(b *bench, id string) error { return b.Kill(ctx, id, "") },
		"remove": func(b *bench, id string) error { return b.Remove(ctx, id, RemoveOptions{Force: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id := b.run("one", always)
			b.runtime.refuse(errBroken)
			b.end(id, 1)
			soon(t, "a start that fails", func() bool { return b.runtime.tried() >= 1 })
			b.freezeRestarts(id)
			done := b.waitFor(id, "")
			must(t, end(b, id))
			receive(t, done)
			if name == "remove" {
				b.nothingLeft()
				return
			}
			if got := b.inspect(id).State; got.Running || got.Status != container.StateExited || got.Error != "broken" {
				t.Errorf("state %+v", got)
			}
			if ep := b.endpoint(id); !ep.Yielded {
				t.Error("it still keeps its address from others")
			}
			b.runtime.refuse(nil)
			must(t, b.Start(ctx, id))
		})
	}
}

// TestAddressThatComes: a container that waits for an address of the host is started
// when it comes, however long its pauses are by then.
func TestAddressThatComes(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	host := []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	b.o.Host.Addresses = func() ([]netip.Addr, error) {
		mu.Lock()
		defer mu.Unlock()
		return host, nil
	}
	id := b.run("one", func(r *CreateRequest) {
		always(r)
		r.Host.PortBindings = network.PortMap{network.MustParsePort("80/tcp"): {
			{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: "80"}, {HostIP: netip.MustParseAddr("10.0.0.1"), HostPort: "80"}, {HostPort: "81"}}}
	})
	b.runtime.refuse(errAddress)
	b.end(id, 1)
	soon(t, "a start that fails", func() bool { return b.inspect(id).State.Error != "" })
	entry, err := b.find(id)
	must(t, err)
	equal(t, "awaited", b.restarts.absent(entry.snapshot()), []netip.Addr{netip.MustParseAddr("192.0.2.1")})
	b.freezeRestarts(id)
	b.restarts.restartLater(entry) // a minute from now
	b.runtime.refuse(nil)
	mu.Lock()
	host = append(host, netip.MustParseAddr("192.0.2.1"))
	mu.Unlock()
	soon(t, "it runs", func() bool { return b.inspect(id).State.Status == container.StateRunning })
	if got := b.restarts.absent(entry.snapshot()); got != nil {
		t.Errorf("it runs and waits for %v", got)
	}
}

// TestStartDuringTheWait: it is running, as Docker has it, and the next attempt comes
// at once.
func TestStartDuringTheWait(t *testing.T) {
	b := newBench(t)
	id := b.run("one", always)
	b.runtime.refuse(errAddress)
	b.end(id, 1)
	soon(t, "a start that fails", func() bool { return b.inspect(id).State.Error != "" })
	entry, err := b.find(id)
	must(t, err)
	entry.mu.Lock()
	entry.waits, entry.pause = entry.waits+1, restartLast // as if the next attempt were a minute away
	entry.mu.Unlock()
	b.runtime.refuse(nil)
	refused(t, b.Start(ctx, id), model.NotModified, "already running")
	soon(t, "it runs", func() bool { return b.inspect(id).State.Status == container.StateRunning })
}

// TestStartByHandThatFails: what the user asks for fails at once, and nobody tries
// it again.
func TestStartByHandThatFails(t *testing.T) {
	b := newBench(t)
	id := b.run("one", always)
	must(t, b.Stop(ctx, id, StopOptions{}))
	b.runtime.refuse(errAddress)
	refused(t, b.Start(ctx, id), model.Unfit, "cannot assign requested address")
	if got := b.inspect(id).State; got.Running || got.Status != container.StateExited || b.runtime.tried() != 1 {
		t.Errorf("state %+v, %d starts", got, b.runtime.tried())
	}
	b.runtime.refuse(nil)
	must(t, b.Start(ctx, id))
}

// TestRetriesAreCounted: on-failure:N makes N attempts, whether they fail before or
// after the program runs.
func TestRetriesAreCounted(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) {
		r.Host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyOnFailure, MaximumRetryCount: 3}
	})
	b.runtime.refuse(errBroken)
	b.end(id, 1)
	receive(t, b.waitFor(id, "")) // does not wait for ever
	if got := b.inspect(id).State; got.Running || got.Error != "broken" || b.runtime.tried() != 3 {
		t.Errorf("state %+v after %d starts", got, b.runtime.tried())
	}
}

// TestPolicyAtBoot: what cannot be started with the machine is tried on, and does
// not count as a restart of a program that never ran; so it is after the daemon's
// restart in the middle of it.
func TestPolicyAtBoot(t *testing.T) {
	b := newBench(t)
	id := b.run("one", func(r *CreateRequest) { r.Host.RestartPolicy.Name = container.RestartPolicyUnlessStopped })
	stopped := b.run("two", func(r *CreateRequest) { r.Host.RestartPolicy.Name = container.RestartPolicyUnlessStopped })
	b.freezeRestarts(id)
	b.end(id, 1) // a restart before the machine ends
	must(t, b.Restart(ctx, id, StopOptions{}))
	must(t, b.Stop(ctx, stopped, StopOptions{}))
	b.runtime.refuse(errAddress)
	b.reopen(func() { delete(b.runtime.tasks, model.ContainerID(id)) }) // a reboot
	soon(t, "the second start", func() bool { return b.runtime.tried() >= 2 })
	if got := b.inspect(id); got.State.Status != container.StateRestarting || got.RestartCount != 0 {
		t.Errorf("%s, %d restarts", got.State.Status, got.RestartCount)
	}
	b.reopen(nil)
	b.runtime.refuse(nil)
	soon(t, "it runs", func() bool { return b.inspect(id).State.Status == container.StateRunning })
	if got := b.inspect(id).RestartCount; got != 0 {
		t.Errorf("%d restarts", got)
	}
	if got := b.inspect(stopped).State.Status; got != container.StateExited {
		t.Errorf("what the user stopped is %s", got)
	}
}

// TestOneWaitInForce: a wait that was overtaken, by a stop and another start,
// restarts nothing.
func TestOneWaitInForce(t *testing.T) {
	b := newBench(t)
	id := b.run("one", always)
	entry, err := b.find(id)
	must(t, err)
	for n := range 2 {
		b.freezeRestarts(id)
		b.end(id, 1)
		soon(t, "a wait", func() bool { return entry.inForce(n + 1) })
		if n == 0 {
			must(t, b.Restart(ctx, id, StopOptions{}))
		}
	}
	if b.restarts.restartAfter(entry, 1, 0) || b.inspect(id).State.Status != container.StateRestarting {
		t.Error("the old wait has ended the new one")
	}
}

// TestRestartWithoutClient: a client that goes while its container is being stopped
// does not leave it stopped.
func TestRestartWithoutClient(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	id := b.run("one", nil)
	short, cancel := context.WithCancel(ctx)
	patience := 1
	done := make(chan error, 1)
	p := b.runtime.process(id)
	go func() { done <- b.Restart(short, id, StopOptions{Timeout: &patience}) }()
	soon(t, "it was asked to end", func() bool { return b.runtime.signalled(p) })
	cancel()
	must(t, receive(t, done))
	if got := b.inspect(id).State; got.Status != container.StateRunning || b.runtime.process(id) == p {
		t.Errorf("state %+v", got)
	}
}

// TestRemoveWithoutClient: what was killed to be removed is removed.
func TestRemoveWithoutClient(t *testing.T) {
	b := newBench(t)
	b.run("one", nil)
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.Remove(short, "one", RemoveOptions{Force: true}); err == nil {
		b.nothingLeft()
	} else if got := b.inspect("one").State; !got.Running {
		t.Errorf("half of a removal: %v, %+v", err, got)
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
	refused(t, set(id, container.RestartPolicy{Name: "always"}), model.Conflict, "Cannot update container "+id+": Restart policy cannot be updated because AutoRemove is enabled for the container")
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
	if sig, timeout, err := stopTerms(rec, StopOptions{}); sig != syscall.SIGTERM || timeout != 10 || err != nil {
		t.Errorf("by default %v %d %v", sig, timeout, err)
	}
	endless := -1
	if _, timeout, _ := stopTerms(rec, StopOptions{Timeout: &endless}); timeout >= 0 {
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
