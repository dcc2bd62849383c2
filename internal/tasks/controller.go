package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	dockerevents "github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/containers"
	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// controller runs one task. Swarmkit's agent calls one method after the other, except
// Close and what only tells.
type controller struct {
	Options
	want   *wish
	deps   exec.DependencyGetter
	closed context.Context // ends with Close
	close  context.CancelFunc

	mu   sync.Mutex
	pull *pull // nil: not begun
}

func newController(o Options, w *wish, deps exec.DependencyGetter) *controller {
	c := &controller{Options: o, want: w, deps: deps}
	c.closed, c.close = context.WithCancel(context.Background())
	return c
}

func (c *controller) checkClosed() error {
	if c.closed.Err() != nil {
		return exec.ErrControllerClosed
	}
	return nil
}

// Update implements exec.Controller: nothing of a task changes that has begun.
func (*controller) Update(context.Context, *api.Task) error { return nil }

// Prepare implements exec.Controller. A container that is there already is ErrTaskPrepared.
func (c *controller) Prepare(ctx context.Context) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	if c.ours(ctx) {
		return exec.ErrTaskPrepared
	}
	if err := c.ensureNetworks(ctx); err != nil {
		return err
	}
	if err := c.getImage(ctx); err != nil {
		return err
	}
	files, points, err := c.want.files(c.deps, func(n int) string { return c.Files.Path(c.want.task.ID, n) })
	if err != nil {
		return err
	}
	if err := c.Files.Put(c.want.task.ID, files); err != nil {
		return err
	}
	_, _, err = c.Lives.Create(ctx, c.want.request(points))
	if model.KindOf(err) == model.Conflict && c.ours(ctx) {
		return exec.ErrTaskPrepared
	}
	return err
}

// ensureNetworks has the task's networks made here. Who starts after the daemon says so
// again: what was said is in memory.
func (c *controller) ensureNetworks(ctx context.Context) error {
	for _, n := range c.want.networks {
		if err := c.Networks.EnsureFor(ctx, c.want.task.ID, n); err != nil {
			return err
		}
	}
	return nil
}

func (c *controller) dropNetworks(ctx context.Context) {
	for _, n := range c.want.networks {
		c.Networks.DropFor(ctx, c.want.task.ID, n.ID)
	}
}

// ours tells whether the task's container is there.
func (c *controller) ours(ctx context.Context) bool {
	found, err := c.Looks.Inspect(ctx, c.want.name())
	return err == nil && found.Config != nil && found.Config.Labels[taskLabel] == c.want.task.ID
}

// Start implements exec.Controller: it returns once the container is well. One that has
// ended already is ErrTaskStarted; of one that runs it waits for the same.
func (c *controller) Start(ctx context.Context) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	if err := c.ensureNetworks(ctx); err != nil {
		return err
	}
	found, err := c.Looks.Inspect(ctx, c.want.name())
	if err != nil {
		return err
	}
	heard, stop := c.listen(ctx)
	defer stop()
	switch {
	case found.State.Running: // the daemon ended while it was waited for
	case found.State.Status != container.StateCreated:
		return exec.ErrTaskStarted
	default:
		if err := c.Lives.Start(ctx, c.want.name()); err != nil && model.KindOf(err) != model.NotModified {
			return fmt.Errorf("starting container failed: %w", err)
		}
	}
	return c.serve(ctx, checked(found), heard)
}

// serve has others led to the container that was started, once it is well if that is checked.
func (c *controller) serve(ctx context.Context, checked bool, heard <-chan events.Message) error {
	if checked {
		if err := c.untilWell(ctx, heard); err != nil {
			return err
		}
		if now, err := c.Looks.Inspect(ctx, c.want.name()); err != nil || !now.State.Running {
			return err // has ended meanwhile, well: who waits for it says so
		}
	}
	return c.Looks.SetServing(ctx, c.want.name(), true)
}

// checked tells whether a container's health is checked.
func checked(c container.InspectResponse) bool {
	return c.Config != nil && c.Config.Healthcheck != nil && len(c.Config.Healthcheck.Test) > 0 && c.Config.Healthcheck.Test[0] != "NONE"
}

// listen returns what happens to the container from now on.
func (c *controller) listen(ctx context.Context) (<-chan events.Message, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	_, live := c.Events.Subscribe(ctx, time.Time{}, time.Time{}, func(e events.Message) bool {
		return e.Type == dockerevents.ContainerEventType && e.Actor.Attributes[taskLabel] == c.want.task.ID && e.Actor.Attributes["name"] == c.want.name()
	})
	return live, stop
}

// untilWell waits until the container is healthy, or has ended without a fault.
func (c *controller) untilWell(ctx context.Context, heard <-chan events.Message) error {
	var cause error
	for {
		now, err := c.Looks.Inspect(ctx, c.want.name())
		switch {
		case model.KindOf(err) == model.NotFound:
			return errDestroyed
		case err != nil:
			return err
		case !now.State.Running && now.State.ExitCode != 0:
			return &exitError{now.State.ExitCode, cause}
		case !now.State.Running:
			return nil
		case now.State.Health != nil && now.State.Health.Status == container.Healthy:
			return nil
		case now.State.Health != nil && now.State.Health.Status == container.Unhealthy && cause == nil:
			cause = errUnhealthy
			if err := c.stop(ctx); err != nil {
				return fmt.Errorf("unhealthy container shutdown failed: %w", err)
			}
			continue
		}
		select {
		case _, ok := <-heard:
			if !ok && ctx.Err() == nil { // it fell behind
				var stop context.CancelFunc
				heard, stop = c.listen(ctx)
				defer stop()
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closed.Done():
			return exec.ErrControllerClosed
		}
	}
}

// Wait implements exec.Controller. One that becomes unhealthy is ended.
func (c *controller) Wait(ctx context.Context) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	if err := c.ensureNetworks(ctx); err != nil {
		c.Logger.Warn("a network of a task that runs is not as it should be", "op", "task.wait", "task", c.want.task.ID, "err", err)
	}
	how := c.untilEnded(ctx)
	for restarts := uint64(0); c.alone(ctx, how, restarts); restarts++ {
		if again := c.startAgain(ctx); again != nil {
			how = again
			continue
		}
		how = c.untilEnded(ctx)
	}
	return how
}

// untilEnded waits for the end of the container; nil says that it ended without a fault.
func (c *controller) untilEnded(ctx context.Context) error {
	ended, err := c.Looks.Wait(ctx, c.want.name(), container.WaitConditionNotRunning)
	if err != nil {
		return err
	}
	heard, stop := c.listen(ctx)
	defer func() { stop() }()
	var cause error
	for {
		if cause == nil && c.sick(ctx) { // an event only wakes: it may have been missed
			cause = errUnhealthy
			if err := c.stop(ctx); err != nil {
				c.Logger.Warn("an unhealthy container goes on", "op", "task.wait", "task", c.want.task.ID, "err", err)
			}
		}
		select {
		case _, ok := <-heard:
			if !ok && ctx.Err() == nil {
				heard, stop = c.listen(ctx)
			}
		case <-ctx.Done():
			return ctx.Err()
		case how, ok := <-ended:
			switch {
			case !ok:
				return ctx.Err()
			case how.StatusCode == 0:
				return nil
			case cause == nil && how.Error != nil:
				cause = errors.New(how.Error.Message)
			}
			return &exitError{int(how.StatusCode), cause}
		}
	}
}

// sick tells whether the container runs and is unhealthy.
func (c *controller) sick(ctx context.Context) bool {
	now, err := c.Looks.Inspect(ctx, c.want.name())
	return err == nil && now.State.Running && now.State.Health != nil && now.State.Health.Status == container.Unhealthy
}

// exitError says that a container has ended with a fault.
type exitError struct {
	code  int
	cause error
}

// Error implements error, in Docker's words.
func (e *exitError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("task: non-zero exit (%v): %v", e.code, e.cause)
	}
	return fmt.Sprintf("task: non-zero exit (%v)", e.code)
}

// ExitCode implements exec.ExitCoder.
func (e *exitError) ExitCode() int { return e.code }

// Unwrap returns why.
func (e *exitError) Unwrap() error { return e.cause }

// Shutdown implements exec.Controller: the task serves no more, and then ends.
func (c *controller) Shutdown(ctx context.Context) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	c.stopPull()
	if err := c.stop(ctx); err != nil {
		return err
	}
	c.dropNetworks(ctx)
	return nil
}

// stop ends the container, and says first that it serves no more. One that does not run is
// success.
func (c *controller) stop(ctx context.Context) error {
	c.drain(ctx)
	o := containers.StopOptions{}
	if grace := c.want.spec.StopGracePeriod; grace != nil {
		seconds := int(grace.Seconds())
		o.Timeout = &seconds
	}
	return unless(c.Lives.Stop(ctx, c.want.name(), o), model.NotFound, model.NotModified)
}

// drain has nobody led to the container any more.
func (c *controller) drain(ctx context.Context) {
	now, err := c.Looks.Inspect(ctx, c.want.name())
	if err != nil {
		return // one that is gone serves nobody
	}
	if err := c.Looks.SetServing(ctx, c.want.name(), false); err != nil || !now.State.Running || len(c.want.stands) == 0 {
		return
	}
	heard := time.NewTimer(c.Drain)
	defer heard.Stop()
	select {
	case <-heard.C:
	case <-ctx.Done():
	case <-c.closed.Done():
	}
}

// unless returns an error that is of none of the kinds.
func unless(err error, kinds ...model.Kind) error {
	for _, k := range kinds {
		if err != nil && model.KindOf(err) == k {
			return nil
		}
	}
	return err
}

// Terminate implements exec.Controller.
func (c *controller) Terminate(ctx context.Context) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	c.stopPull()
	return unless(c.Lives.Kill(ctx, c.want.name(), "KILL"), model.NotFound)
}

// Remove implements exec.Controller: nothing of the task stays.
func (c *controller) Remove(ctx context.Context) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	if err := c.Shutdown(ctx); err != nil {
		c.Logger.Warn("a container does not end before it is removed", "op", "task.remove", "task", c.want.task.ID, "err", err)
	}
	if err := unless(c.Lives.Remove(ctx, c.want.name(), containers.RemoveOptions{Force: true, Volumes: true}), model.NotFound); err != nil {
		return err
	}
	c.dropNetworks(ctx)
	return c.Files.Drop(c.want.task.ID)
}

// Close implements exec.Controller: the container goes on.
func (c *controller) Close() error {
	c.close()
	return nil
}

// ContainerStatus implements exec.ContainerStatuser.
func (c *controller) ContainerStatus(ctx context.Context) (*api.ContainerStatus, error) {
	found, err := c.Looks.Inspect(ctx, c.want.name())
	if err != nil || found.State == nil {
		return nil, unless(err, model.NotFound)
	}
	return &api.ContainerStatus{ContainerID: found.ID, PID: int32(found.State.Pid), ExitCode: int32(found.State.ExitCode)}, nil //nolint:gosec // both are int32 in the kernel
}

// PortStatus implements exec.PortStatuser.
func (c *controller) PortStatus(ctx context.Context) (*api.PortStatus, error) {
	found, err := c.Looks.Inspect(ctx, c.want.name())
	if err != nil {
		return nil, unless(err, model.NotFound)
	}
	out := &api.PortStatus{}
	if found.NetworkSettings == nil {
		return out, nil
	}
	for port, list := range found.NetworkSettings.Ports {
		for _, b := range list {
			published, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				return nil, err
			}
			out.Ports = append(out.Ports, &api.PortConfig{
				PublishMode: api.PublishModeHost, Protocol: protocols[port.Proto()], TargetPort: uint32(port.Num()), PublishedPort: uint32(published),
			})
		}
	}
	return out, nil
}

var protocols = map[network.IPProtocol]api.PortConfig_Protocol{network.TCP: api.ProtocolTCP, network.UDP: api.ProtocolUDP, network.SCTP: api.ProtocolSCTP}
