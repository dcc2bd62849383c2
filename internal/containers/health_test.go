package containers

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

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

func TestHealthOfPaused(t *testing.T) {
	b := newBench(t)
	b.runtime.setScript(scripted{})
	id := b.run("one", checked(container.HealthConfig{}))
	b.becomes(id, container.Healthy)
	must(t, b.Pause(ctx, id))
	if got := b.inspect(id).State.Health.Status; got != container.Unhealthy {
		t.Fatalf("paused and %s", got)
	}
	entry, err := b.find(id)
	must(t, err)
	receive(t, entry.monitor.Done()) // closed: nobody probes any more
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
