package tasks

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/containers"
)

// TestRestartWithoutALeader: what ends while nobody could replace it is started again
// here, and nobody hears of that; what ends with a leader, or as one is back, is the
// leader's affair.
func TestRestartWithoutALeader(t *testing.T) {
	begin := func(t *testing.T, p *api.RestartPolicy) (*host, *atomic.Bool, chan error) {
		h, led := newHost(), &atomic.Bool{}
		o := h.options()
		o.Led = func(context.Context) bool { return led.Load() }
		w, err := newWish(aTask(func(t *api.Task, _ *api.ContainerSpec) { t.Spec.Restart = p }), &api.NodeDescription{Platform: &api.Platform{}})
		must(t, err)
		c := newController(o, w, nil) // a Manager would never end
		t.Cleanup(func() { must(t, c.Close()) })
		must(t, c.Prepare(t.Context()))
		must(t, c.Start(t.Context()))
		h.noted()
		ended := make(chan error, 1)
		go func() { ended <- c.Wait(t.Context()) }()
		synctest.Wait()
		return h, led, ended
	}
	any2 := &api.RestartPolicy{Condition: api.RestartOnAny, Delay: gogotypes.DurationProto(time.Second), MaxAttempts: 2}
	t.Run("as often as the service allows", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, _, ended := begin(t, any2)
			wants(t, h, "ensure back for t1")
			for range 2 {
				began := time.Now()
				h.exit(name, 3)
				h.await(t, "serving false; start; serving true")
				if waited := time.Since(began); waited != time.Second {
					t.Errorf("started again after %s", waited)
				}
			}
			h.exit(name, 3)
			if err := <-ended; err == nil || err.Error() != "task: non-zero exit (3)" {
				t.Errorf("%v", err)
			}
		})
	})
	t.Run("a leader, or one that is back in time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, led, ended := begin(t, any2)
			h.noted()
			h.exit(name, 0)
			synctest.Wait() // it waits for the second to pass
			led.Store(true)
			if err := <-ended; err != nil {
				t.Errorf("%v", err)
			}
			wants(t, h, "")
		})
	})
	t.Run("does not start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, _, ended := begin(t, any2)
			h.refused = errors.New("port is already allocated")
			h.exit(name, 0)
			if err := <-ended; err == nil || err.Error() != "task: non-zero exit (128): starting container failed: port is already allocated" {
				t.Errorf("%v", err)
			}
		})
	})
	t.Run("is removed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, _, ended := begin(t, any2)
			h.exit(name, 0)
			must(t, h.Remove(t.Context(), name, containers.RemoveOptions{}))
			if err := <-ended; !errors.Is(err, errDestroyed) {
				t.Errorf("%v", err)
			}
		})
	})
}

// TestRestartPolicy: what is started again, and when.
func TestRestartPolicy(t *testing.T) {
	failed, ended := &exitError{1, nil}, error(nil)
	policy := func(c api.RestartPolicy_RestartCondition) *api.RestartPolicy { return &api.RestartPolicy{Condition: c} }
	for _, c := range []struct {
		what   string
		policy *api.RestartPolicy
		how    error
		job    bool
		wanted bool
	}{
		{"nothing said, ended", nil, ended, false, true},
		{"nothing said, failed", nil, failed, false, true},
		{"never", policy(api.RestartOnNone), failed, false, false},
		{"on failure, failed", policy(api.RestartOnFailure), failed, false, true},
		{"on failure, ended", policy(api.RestartOnFailure), ended, false, false},
		{"a job", nil, failed, true, false},
		{"not known how", nil, context.Canceled, false, false},
	} {
		task := &api.Task{Spec: api.TaskSpec{Restart: c.policy}}
		if c.job {
			task.JobIteration = &api.Version{}
		}
		delay, wanted := restartOf(task, c.how, 0)
		if wanted != c.wanted || wanted && delay != defaultRestartDelay {
			t.Errorf("%s: %t after %s", c.what, wanted, delay)
		}
	}
}
