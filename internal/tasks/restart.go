package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/model"
)

// Who replaces a task that has ended is the swarm's leader. While there is none, or it
// cannot be reached, nobody would: then its container is started again here, as the
// service's restart policy has it. To the swarm the task runs all that time; if the leader
// is back before the container is, it is told of the end as ever.

const (
	// defaultRestartDelay is swarmkit's, of a service that says nothing.
	defaultRestartDelay = 5 * time.Second
	// ledTimeout bounds the question whether there is a leader: an answer takes it a
	// fraction of that.
	ledTimeout = 2 * time.Second
	// notStarted is the exit code of a container that did not start.
	notStarted = 128
)

// alone tells whether a container that has ended so is to be started again here. It
// waits for as long as the service wants it to stay ended, and asks again then.
func (c *controller) alone(ctx context.Context, how error, restarts uint64) bool {
	delay, wanted := restartOf(c.want.task, how, restarts)
	if !wanted || c.led(ctx) {
		return false
	}
	pause := time.NewTimer(delay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	case <-c.closed.Done():
	}
	return ctx.Err() == nil && c.closed.Err() == nil && !c.led(ctx)
}

// restartOf returns whether a task's service wants it replaced when its container has
// ended so, and after how long; pure. Jobs are counted by their leader alone.
func restartOf(t *api.Task, how error, restarts uint64) (delay time.Duration, wanted bool) {
	if failed := new(exitError); t.JobIteration != nil || how != nil && !errors.As(how, &failed) {
		return 0, false
	}
	p := t.Spec.Restart
	if p == nil {
		return defaultRestartDelay, true
	}
	if p.Condition == api.RestartOnNone || p.Condition == api.RestartOnFailure && how == nil || p.MaxAttempts > 0 && restarts >= p.MaxAttempts {
		return 0, false
	}
	if p.Delay == nil {
		return defaultRestartDelay, true
	}
	delay, err := gogotypes.DurationFromProto(p.Delay)
	return delay, err == nil
}

// led tells whether the swarm has a leader that hears of this host.
func (c *controller) led(ctx context.Context) bool {
	if c.Led == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, ledTimeout)
	defer cancel()
	return c.Led(ctx)
}

// startAgain starts a container that has ended, and returns once it is well. What stands
// in the way is one more end of it, but if it is not there any more.
func (c *controller) startAgain(ctx context.Context) error {
	found, err := c.Looks.Inspect(ctx, c.want.name())
	if err != nil {
		return errDestroyed
	}
	c.Logger.Warn("the container of a task has ended, and no leader of the swarm is heard of: it is started again", "op", "task.restart", "task", c.want.task.ID, "exit", found.State.ExitCode)
	heard, stop := c.listen(ctx)
	defer stop()
	err = c.Looks.SetServing(ctx, c.want.name(), false)
	if err == nil {
		err = c.Lives.Start(ctx, c.want.name())
	}
	switch model.KindOf(err) {
	case model.NotFound:
		return errDestroyed
	case model.NotModified: // somebody has started it
		err = nil
	}
	if err != nil {
		c.Logger.Warn("the container of a task does not start", "op", "task.restart", "task", c.want.task.ID, "err", err)
		return &exitError{notStarted, fmt.Errorf("starting container failed: %w", err)}
	}
	return c.serve(ctx, checked(found), heard)
}
