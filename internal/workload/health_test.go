package workload

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/model"
)

func TestCheckOf(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  container.Config
		command []string // nil: no check
	}{
		{"none", container.Config{}, nil},
		{"empty", container.Config{Healthcheck: &container.HealthConfig{Retries: 2}}, nil},
		{"NONE", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}, nil},
		{"unknown", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"TCP", "80"}}}, nil},
		{"CMD", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "a", "b c"}}}, []string{"a", "b c"}},
		{"CMD-SHELL", container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", "a b"}}}, []string{"/bin/sh", "-c", "a b"}},
		{"shell of the image", container.Config{Shell: []string{"bash", "-ec"},
			Healthcheck: &container.HealthConfig{Test: []string{"CMD-SHELL", "a b"}}}, []string{"bash", "-ec", "a b"}},
	} {
		got, ok := checkOf(&c.config)
		if ok != (c.command != nil) || !slices.Equal(got.command, c.command) {
			t.Errorf("%s: %v %q, want %q", c.name, ok, got.command, c.command)
		}
	}
	got, _ := checkOf(&container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "x"}}})
	if got.interval != 30*time.Second || got.timeout != 30*time.Second || got.startPeriod != 0 || got.startInterval != 5*time.Second || got.retries != 3 {
		t.Errorf("defaults %+v", got)
	}
}

func TestHealthIsJudged(t *testing.T) {
	started := time.Unix(1000, 0)
	c := check{interval: 10 * time.Second, startPeriod: 20 * time.Second, startInterval: time.Second, retries: 2}
	h := container.Health{Status: container.Starting}
	for i, step := range []struct {
		after  time.Duration
		code   int
		status container.HealthStatus
		streak int
		pause  time.Duration
	}{
		{1 * time.Second, 1, container.Starting, 0, time.Second}, // the start period forgives
		{2 * time.Second, 1, container.Starting, 0, time.Second},
		{21 * time.Second, 1, container.Starting, 1, 10 * time.Second}, // it is over
		{31 * time.Second, 0, container.Healthy, 0, 10 * time.Second},
		{41 * time.Second, 2, container.Healthy, 1, 10 * time.Second},
		{51 * time.Second, -1, container.Unhealthy, 2, 10 * time.Second},
		{61 * time.Second, 1, container.Unhealthy, 3, 10 * time.Second},
		{71 * time.Second, 0, container.Healthy, 0, 10 * time.Second},
		{3 * time.Second, 1, container.Healthy, 1, 10 * time.Second}, // a failure after a success counts, in the start period too
	} {
		h = c.judge(h, container.HealthcheckResult{Start: started.Add(step.after), ExitCode: step.code}, started)
		if h.Status != step.status || h.FailingStreak != step.streak {
			t.Errorf("step %d: %s %d, want %s %d", i, h.Status, h.FailingStreak, step.status, step.streak)
		}
		if got := c.pause(h.Status, step.after); got != step.pause {
			t.Errorf("step %d: pause %v, want %v", i, got, step.pause)
		}
	}
	if len(h.Log) != 5 || h.Log[4].ExitCode != 1 || h.Log[3].ExitCode != 0 {
		t.Errorf("the last five are kept: %+v", h.Log)
	}
}

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

func TestHealthcheckOfImage(t *testing.T) {
	theirs := model.Healthcheck{Test: []string{"CMD", "theirs"}, Interval: time.Second, Timeout: 2 * time.Second,
		StartPeriod: 3 * time.Second, StartInterval: 4 * time.Second, Retries: 5}
	c := container.Config{Healthcheck: &container.HealthConfig{Timeout: time.Minute, Retries: 1}}
	mergeHealth(&c, model.ImageConfig{Healthcheck: &theirs, Shell: []string{"ash", "-c"}})
	want := container.HealthConfig{Test: []string{"CMD", "theirs"}, Interval: time.Second, Timeout: time.Minute,
		StartPeriod: 3 * time.Second, StartInterval: 4 * time.Second, Retries: 1}
	if got := *c.Healthcheck; !slices.Equal(got.Test, want.Test) || got.Interval != want.Interval || got.Timeout != want.Timeout ||
		got.StartPeriod != want.StartPeriod || got.StartInterval != want.StartInterval || got.Retries != want.Retries || c.Shell[0] != "ash" {
		t.Errorf("merged %+v, want %+v", got, want)
	}
	c = container.Config{Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}
	mergeHealth(&c, model.ImageConfig{Healthcheck: &theirs})
	if _, checked := checkOf(&c); checked {
		t.Error("--no-healthcheck does not switch the image's off")
	}
	c = container.Config{}
	mergeHealth(&c, model.ImageConfig{})
	if c.Healthcheck != nil {
		t.Error("a check out of nothing")
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
	c, _ := checkOf(box.snapshot().Config)
	p := newProbe(b.Manager, box, c)
	b.runtime.failStart = model.Errorf(model.Internal, `OCI runtime exec failed: exec: "look": executable file not found in $PATH`)
	if got := p.run(ctx); got.ExitCode != -1 || !strings.Contains(got.Output, "executable file not found in $PATH") {
		t.Errorf("result %+v", got)
	}
	if got := p.run(ctx); got.ExitCode != 0 || got.Output != "" {
		t.Errorf("the next one: %+v", got)
	}
	p.check.command = nil
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
	c, _ := checkOf(box.snapshot().Config)
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
	p := newProbe(b.Manager, box, check{command: []string{"look"}, timeout: time.Minute})
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
