package health

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containers/exectest"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// watched is a container whose health nobody asks for.
type watched struct{ exectest.Container }

func (watched) HealthStatus() container.HealthStatus { return container.Starting }

func (watched) NoteHealth(context.Context, func(container.Health) container.Health) (container.HealthStatus, bool) {
	return container.Starting, true
}

// bench returns a checker on a fake runtime.
func bench(t *testing.T) (*Checker, *exectest.Runtime) {
	t.Helper()
	r := &exectest.Runtime{}
	return New(Options{Runtime: r, Closed: t.Context(), Work: &sync.WaitGroup{}, Log: slog.New(slog.DiscardHandler)}), r
}

var look = containerspec.Healthcheck{Command: []string{"look"}, Timeout: time.Minute}

func TestProbeThatCannotStart(t *testing.T) {
	k, r := bench(t)
	p := newProbe(k, watched{"one"}, look)
	r.FailStart(model.Errorf(model.Internal, `OCI runtime exec failed: exec: "look": executable file not found in $PATH`))
	if got := p.run(t.Context()); got.ExitCode != -1 || !strings.Contains(got.Output, "executable file not found in $PATH") {
		t.Errorf("result %+v", got)
	}
	if got := p.run(t.Context()); got.ExitCode != 0 || got.Output != "" {
		t.Errorf("the next one: %+v", got)
	}
	p.check.Command = nil
	if got := p.run(t.Context()); got.ExitCode != -1 || got.Output != "No exec command specified" {
		t.Errorf("without a command: %+v", got)
	}
}

// TestProbeLeftBehind: what a daemon that was killed left of a probe is ended
// before the next one.
func TestProbeLeftBehind(t *testing.T) {
	k, r := bench(t)
	p := newProbe(k, watched{"one"}, look)
	r.Play(exectest.Script{Hangs: true})
	if _, err := r.Exec(t.Context(), "one", p.id, model.Process{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartExec(t.Context(), "one", p.id); err != nil {
		t.Fatal(err)
	}
	left := r.Ended(p.id)
	r.Play(exectest.Script{})
	if got := p.run(t.Context()); got.ExitCode != 0 {
		t.Errorf("result %+v", got)
	}
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("it still runs")
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
	k, _ := bench(t)
	p := newProbe(k, watched{"one"}, look)
	for range probesStarting {
		k.starting <- struct{}{}
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if got := p.run(given); got.ExitCode != exitNoProbe {
		t.Errorf("a probe that was given up: %+v", got)
	}
	done := make(chan container.HealthcheckResult, 1)
	go func() { done <- p.run(t.Context()) }()
	<-k.starting
	select {
	case got := <-done:
		if got.ExitCode != 0 {
			t.Errorf("result %+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits still")
	}
	if len(k.starting) != probesStarting-1 {
		t.Errorf("%d places are taken", len(k.starting))
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
