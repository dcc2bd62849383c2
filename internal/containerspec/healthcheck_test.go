package containerspec

import (
	"slices"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

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
		got, ok := HealthcheckOf(&c.config)
		if ok != (c.command != nil) || !slices.Equal(got.Command, c.command) {
			t.Errorf("%s: %v %q, want %q", c.name, ok, got.Command, c.command)
		}
	}
	got, _ := HealthcheckOf(&container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "x"}}})
	if got.Interval != 30*time.Second || got.Timeout != 30*time.Second || got.StartPeriod != 0 || got.StartInterval != 5*time.Second || got.Retries != 3 {
		t.Errorf("defaults %+v", got)
	}
}

func TestHealthIsJudged(t *testing.T) {
	started := time.Unix(1000, 0)
	c := Healthcheck{Interval: 10 * time.Second, StartPeriod: 20 * time.Second, StartInterval: time.Second, Retries: 2}
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
		h = c.Judge(h, container.HealthcheckResult{Start: started.Add(step.after), ExitCode: step.code}, started)
		if h.Status != step.status || h.FailingStreak != step.streak {
			t.Errorf("step %d: %s %d, want %s %d", i, h.Status, h.FailingStreak, step.status, step.streak)
		}
		if got := c.Pause(h.Status, step.after); got != step.pause {
			t.Errorf("step %d: pause %v, want %v", i, got, step.pause)
		}
	}
	if len(h.Log) != 5 || h.Log[4].ExitCode != 1 || h.Log[3].ExitCode != 0 {
		t.Errorf("the last five are kept: %+v", h.Log)
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
	if _, checked := HealthcheckOf(&c); checked {
		t.Error("--no-healthcheck does not switch the image's off")
	}
	c = container.Config{}
	mergeHealth(&c, model.ImageConfig{})
	if c.Healthcheck != nil {
		t.Error("a check out of nothing")
	}
}

// TestOldHealthcheck: containers of earlier releases may have what would be dropped today.
func TestOldHealthcheck(t *testing.T) {
	c, ok := HealthcheckOf(&container.Config{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "true"}, Interval: 1, Timeout: -5, StartInterval: 7, StartPeriod: -1}})
	if !ok || c.Interval != defaultInterval || c.Timeout != defaultTimeout || c.StartInterval != defaultStartInterval || c.StartPeriod != 0 {
		t.Errorf("health check %+v", c)
	}
}
