package tasks

import (
	"context"
	"errors"
	"fmt"

	gogotypes "github.com/gogo/protobuf/types"
	dockerevents "github.com/moby/moby/api/types/events"
	"github.com/moby/swarmkit/v2/agent/exec"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/containers"
)

// Logs implements exec.ControllerLogs. Who follows waits for a container that is yet to
// start.
func (c *controller) Logs(ctx context.Context, to exec.LogPublisher, o api.LogSubscriptionOptions) error {
	if err := c.checkClosed(); err != nil {
		return err
	}
	asked, err := logOptions(o)
	if err != nil {
		return err
	}
	if o.Follow {
		if err := c.untilStarted(ctx); err != nil {
			return fmt.Errorf("container not ready for logs: %w", err)
		}
	}
	whose := api.LogContext{NodeID: c.want.task.NodeID, ServiceID: c.want.task.ServiceID, TaskID: c.want.task.ID}
	err = c.Looks.LogEntries(ctx, c.want.name(), asked, func(e containers.LogEntry) error {
		m := api.LogMessage{Context: whose, Stream: api.LogStreamStdout, Data: e.Text}
		if e.Stream == "stderr" {
			m.Stream = api.LogStreamStderr
		}
		if m.Stream == api.LogStreamStdout && !asked.Stdout || m.Stream == api.LogStreamStderr && !asked.Stderr {
			return nil
		}
		if m.Timestamp, err = gogotypes.TimestampProto(e.Time); err != nil {
			return fmt.Errorf("failed to convert timestamp: %w", err)
		}
		for name, value := range e.Attributes {
			m.Attrs = append(m.Attrs, api.LogAttr{Key: name, Value: value})
		}
		return to.Publish(ctx, m)
	})
	if err != nil {
		return fmt.Errorf("failed getting container logs: %w", err)
	}
	return nil
}

// logOptions translates what is asked of a log.
func logOptions(o api.LogSubscriptionOptions) (containers.LogOptions, error) {
	out := containers.LogOptions{Follow: o.Follow, Details: true, Tail: -1}
	if o.Since != nil {
		since, err := gogotypes.TimestampFromProto(o.Since)
		if err != nil {
			return out, err
		}
		out.Since = since
	}
	switch {
	case o.Tail > 0:
		return out, errors.New("tail relative to start of logs not supported via docker API")
	case o.Tail < 0: // -1 is none
		out.Tail = int(-o.Tail - 1)
	}
	out.Stdout, out.Stderr = len(o.Streams) == 0, len(o.Streams) == 0
	for _, s := range o.Streams {
		out.Stdout = out.Stdout || s == api.LogStreamStdout
		out.Stderr = out.Stderr || s == api.LogStreamStderr
	}
	return out, nil
}

// untilStarted waits until the container has been started, whatever became of it.
func (c *controller) untilStarted(ctx context.Context) error {
	heard, stop := c.listen(ctx)
	defer func() { stop() }()
	for {
		if found, err := c.Looks.Inspect(ctx, c.want.name()); err == nil && found.State != nil && found.State.Status != "created" {
			return nil
		}
		select {
		case e, ok := <-heard:
			if ok && e.Action == dockerevents.ActionStart {
				return nil
			}
			if !ok && ctx.Err() == nil {
				heard, stop = c.listen(ctx)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closed.Done():
			return exec.ErrControllerClosed
		}
	}
}
