package workload

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

func TestHealthcheckRefused(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		h    container.HealthConfig
		text string
	}{
		{container.HealthConfig{Interval: time.Microsecond}, "Interval in Healthcheck cannot be less than 1ms"},
		{container.HealthConfig{Timeout: -1}, "Timeout in Healthcheck cannot be less than 1ms"},
		{container.HealthConfig{StartPeriod: 1}, "StartPeriod in Healthcheck cannot be less than 1ms"},
		{container.HealthConfig{StartInterval: 999}, "StartInterval in Healthcheck cannot be less than 1ms"},
		{container.HealthConfig{Retries: -1}, "Retries in Healthcheck cannot be negative"},
	} {
		_, _, err := b.Create(ctx, request("", func(r *CreateRequest) { r.Config.Healthcheck = &c.h }))
		refused(t, err, model.Invalid, c.text)
	}
}

// checked asks for a health check that comes round quickly.
func checked(h container.HealthConfig) func(*CreateRequest) {
	if h.Interval == 0 {
		h.Interval = time.Millisecond
	}
	if h.Test == nil {
		h.Test = []string{"CMD-SHELL", "look"}
	}
	return func(r *CreateRequest) { r.Config.Healthcheck = &h }
}

// becomes waits for a container's health.
func (b *bench) becomes(id string, status container.HealthStatus) *container.Health {
	b.t.Helper()
	soon(b.t, "it is "+string(status), func() bool { return b.inspect(id).State.Health.Status == status })
	return b.inspect(id).State.Health
}

func TestHealthFollowsProbes(t *testing.T) {
	b := newBench(t)
	if got := b.inspect(b.run("plain", nil)).State.Health; got != nil {
		t.Fatalf("health without a check: %+v", got)
	}
	b.runtime.setScript(scripted{output: "no", code: 1})
	id := b.run("one", checked(container.HealthConfig{Retries: 2}))
	bad := b.becomes(id, container.Unhealthy)
	if len(bad.Log) < 2 || bad.Log[0].ExitCode != 1 || bad.Log[0].Output != "no" || bad.Log[0].End.Before(bad.Log[0].Start) {
		t.Fatalf("log %+v", bad.Log[0])
	}
	b.runtime.setScript(scripted{output: "yes"})
	b.becomes(id, container.Healthy)
	var health []string
	for _, action := range b.actions() {
		if strings.HasPrefix(action, "health_status") {
			health = append(health, action)
		}
	}
	equal(t, "events of health", health, []string{"health_status: unhealthy", "health_status: healthy"})
	list, err := b.List(ctx, ListOptions{Filters: Filters{"health": {"healthy"}}})
	must(t, err)
	if len(list) != 1 || list[0].ID != id || !strings.HasSuffix(list[0].Status, " (healthy)") || list[0].Health.Status != container.Healthy {
		t.Fatalf("listed %+v", list)
	}
	_, err = b.List(ctx, ListOptions{Filters: Filters{"health": {"fine"}}})
	refused(t, err, model.Invalid, "invalid filter 'health=fine'")

	b.end(id, 0)
	if got := b.inspect(id).State.Health; got.Status != container.Unhealthy || len(got.Log) == 0 {
		t.Fatalf("health of what has ended: %+v", got)
	}
}

func TestProbeEvents(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{code: 3})
	_, live := b.Subscribe(t.Context(), time.Time{}, time.Time{}, func(e events.Message) bool {
		return strings.HasPrefix(string(e.Action), "exec_")
	})
	b.run("one", checked(container.HealthConfig{}))
	for _, want := range []string{"exec_create: /bin/sh -c look", "exec_start: /bin/sh -c look", "exec_die"} {
		e := receive(t, live)
		if string(e.Action) != want || len(e.Actor.Attributes["execID"]) != 64 {
			t.Fatalf("event %s %v, want %s", e.Action, e.Actor.Attributes, want)
		}
		if want == "exec_die" && e.Actor.Attributes["exitCode"] != "3" {
			t.Fatalf("exit code %s", e.Actor.Attributes["exitCode"])
		}
	}
}

func TestProbeTimeout(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{output: "still looking", hangs: true})
	id := b.run("one", checked(container.HealthConfig{Timeout: 20 * time.Millisecond, Retries: 1}))
	bad := b.becomes(id, container.Unhealthy).Log[0]
	if bad.ExitCode != -1 || bad.Output != "Health check exceeded timeout (20ms): still looking" {
		t.Fatalf("result %+v", bad)
	}
	if n := b.runtime.running(); n > 1 {
		t.Fatalf("%d probes run at the same time", n)
	}
}

func TestProbeThatCannotStart(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{})
	id := b.create("one", checked(container.HealthConfig{Interval: time.Hour}))
	must(t, b.Start(ctx, id))
	box, err := b.find(id)
	must(t, err)
	c, _ := containerspec.HealthcheckOf(box.snapshot().Config)
	p := newProbe(b.Manager, box, c)
	b.runtime.failStart = model.Errorf(model.Internal, `OCI runtime exec failed: exec: "look": executable file not found in $PATH`)
	if got := p.run(ctx); got.ExitCode != -1 || !strings.Contains(got.Output, "executable file not found in $PATH") {
		t.Errorf("result %+v", got)
	}
	if got := p.run(ctx); got.ExitCode != 0 || got.Output != "" {
		t.Errorf("the next one: %+v", got)
	}
	p.check.Command = nil
	if got := p.run(ctx); got.ExitCode != -1 || got.Output != "No exec command specified" {
		t.Errorf("without a command: %+v", got)
	}
}

// TestProbeLeftBehind: what a daemon that was killed left of a probe is ended
// before the next one.
func TestProbeLeftBehind(t *testing.T) {
	b := newBench(t)
	id := b.run("one", checked(container.HealthConfig{Interval: time.Hour}))
	box, err := b.find(id)
	must(t, err)
	c, _ := containerspec.HealthcheckOf(box.snapshot().Config)
	p := newProbe(b.Manager, box, c)
	_, err = b.runtime.Exec(ctx, box.id, p.id, model.Process{})
	must(t, err)
	_, err = b.runtime.StartExec(ctx, box.id, p.id)
	must(t, err)
	left := b.runtime.execs[p.id]
	b.runtime.setScript(scripted{})
	if got := p.run(ctx); got.ExitCode != 0 {
		t.Errorf("result %+v", got)
	}
	receive(t, left.exit)
}

func TestHealthOfPaused(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{})
	id := b.run("one", checked(container.HealthConfig{}))
	b.becomes(id, container.Healthy)
	must(t, b.Pause(ctx, id))
	if got := b.inspect(id).State.Health.Status; got != container.Unhealthy {
		t.Fatalf("paused and %s", got)
	}
	box, err := b.find(id)
	must(t, err)
	receive(t, box.monitor.done) // closed: nobody probes any more
	if b.runtime.running() != 0 {
		t.Fatal("a paused container is probed")
	}
	must(t, b.Unpause(ctx, id))
	b.becomes(id, container.Healthy)
}

func TestHealthBeginsAnew(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{})
	id := b.run("one", checked(container.HealthConfig{StartPeriod: time.Hour, StartInterval: time.Millisecond, Interval: time.Hour}))
	b.becomes(id, container.Healthy)
	b.runtime.setScript(scripted{code: 1})
	b.reopen(nil) // a new daemon has seen nothing yet
	soon(t, "probing goes on", func() bool {
		log := b.inspect(id).State.Health.Log
		return len(log) > 0 && log[len(log)-1].ExitCode == 1
	})
	if got := b.inspect(id).State.Health; got.Status != container.Starting || got.FailingStreak != 0 {
		t.Fatalf("after a restart of the daemon: %+v", got)
	}
	must(t, b.Restart(ctx, id, StopOptions{}))
	if got := b.inspect(id).State.Health; got.Status != container.Starting {
		t.Fatalf("after a restart: %+v", got)
	}
}

func TestExcerpt(t *testing.T) {
	var e excerpt
	for range 3 {
		if n, err := e.Write([]byte(strings.Repeat("x", 2000))); n != 2000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := e.String(); len(got) != probeOutput+3 || !strings.HasSuffix(got, "x...") {
		t.Fatalf("%d bytes", len(got))
	}
}

// TestProbesTakeTurns: a probe waits for its place, and is not late for it.
func TestProbesTakeTurns(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{})
	box, err := b.find(b.run("one", nil))
	must(t, err)
	p := newProbe(b.Manager, box, containerspec.Healthcheck{Command: []string{"look"}, Timeout: time.Minute})
	for range probesStarting {
		b.probes <- struct{}{}
	}
	given, cancel := context.WithCancel(ctx)
	cancel()
	if got := p.run(given); got.ExitCode != exitNoProbe {
		t.Errorf("a probe that was given up: %+v", got)
	}
	done := make(chan container.HealthcheckResult, 1)
	go func() { done <- p.run(ctx) }()
	<-b.probes
	if got := receive(t, done); got.ExitCode != 0 {
		t.Errorf("result %+v", got)
	}
	if len(b.probes) != probesStarting-1 {
		t.Errorf("%d places are taken", len(b.probes))
	}
}

// TestStartPeriodMindsNoClock: the start period of a container goes by, whatever becomes
// of the host's clock after the start.
func TestStartPeriodMindsNoClock(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ ago, want time.Duration }{{0, 0}, {time.Minute, time.Minute}, {-time.Hour, 0}} {
		started := steady(now.Add(-c.ago).Round(0).UTC(), now)
		if got := now.Sub(started); (got - c.want).Abs() > time.Millisecond {
			t.Errorf("started %s ago: %s are counted", c.ago, got)
		}
		if !strings.Contains(started.String(), "m=") {
			t.Errorf("started %s ago: the clock of the wall is followed", c.ago)
		}
	}
}
