package services

import (
	"context"
	"errors"
	"strconv"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/swarmkit/v2/api"

	"github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/model"
)

// LogQuery chooses lines of the logs of a service or a task.
type LogQuery struct {
	Service, Task  string // one of them, as a user names it
	Stdout, Stderr bool
	Follow         bool
	Since          time.Time // zero: from the beginning
	Tail           string    // a number; else everything, as Docker says it
}

// LogEntry is a line that a task has written.
type LogEntry struct {
	Stderr     bool
	Time       time.Time
	Text       []byte
	Attributes map[string]string // that the log notes, and whose task it was
}

// LogStream is the logs of a service or a task.
type LogStream struct {
	// TTY says that the tasks write to a terminal.
	TTY bool
	// Next returns the next line, as they come from the nodes, or io.EOF.
	Next func() (LogEntry, error)
}

// prefix begins the names of what swarm notes with every line.
const prefix = "com.docker.swarm."

// Logs opens the logs of a service or a task. They end with ctx.
func (s *Services) Logs(ctx context.Context, q LogQuery) (out LogStream, err error) {
	tail, err := tailOf(q.Tail)
	if err != nil {
		return out, err
	}
	options := &api.LogSubscriptionOptions{Follow: q.Follow, Tail: tail}
	if q.Stdout {
		options.Streams = append(options.Streams, api.LogStreamStdout)
	}
	if q.Stderr {
		options.Streams = append(options.Streams, api.LogStreamStderr)
	}
	if !q.Since.IsZero() {
		if options.Since, err = gogotypes.TimestampProto(q.Since); err != nil {
			return out, model.Errorf(model.Unfit, "could not parse timestamp to proto: %w", err)
		}
	}
	err = s.o.Manage(ctx, func(short context.Context, m swarm.Manager) error {
		selector, tty, err := selectLogs(short, m, q)
		if err != nil {
			return err
		}
		// The stream outlives the request for it.
		stream, err := m.Logs().SubscribeLogs(ctx, &api.SubscribeLogsRequest{Selector: selector, Options: options})
		out = LogStream{TTY: tty, Next: linesOf(stream)}
		return err
	})
	return out, err
}

// selectLogs looks up whose logs are asked for.
func selectLogs(ctx context.Context, m swarm.Manager, q LogQuery) (*api.LogSelector, bool, error) {
	selector, spec := &api.LogSelector{}, (*api.TaskSpec)(nil)
	if q.Service != "" {
		found, err := service(ctx, m, q.Service, false)
		if err != nil {
			return nil, false, err
		}
		selector.ServiceIDs, spec = []string{found.ID}, &found.Spec.Task
	} else {
		found, err := task(ctx, m, q.Task)
		if err != nil {
			return nil, false, err
		}
		selector.TaskIDs, spec = []string{found.ID}, &found.Spec
	}
	c := spec.GetContainer()
	if c == nil {
		return nil, false, errors.New("error making log selector: logs only supported on container tasks")
	}
	return selector, c.TTY, nil
}

// tailOf translates how many lines of before are asked for: swarmkit counts them below
// 0, where -1 is none, and 0 is all.
func tailOf(text string) (int64, error) {
	if text == "" || text == "all" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, model.Errorf(model.Unfit, `tail value must be a positive integer or "all"`)
	}
	if n < 0 {
		return 0, model.Errorf(model.Unfit, "negative tail values not supported")
	}
	return -int64(n) - 1, nil
}

// linesOf returns what yields the lines of a stream, one by one. Those of no known
// stream are left out.
func linesOf(stream api.Logs_SubscribeLogsClient) func() (LogEntry, error) {
	var ready []api.LogMessage
	return func() (LogEntry, error) {
		for {
			for len(ready) > 0 {
				m := ready[0]
				ready = ready[1:]
				if m.Stream == api.LogStreamStdout || m.Stream == api.LogStreamStderr {
					return entryOf(m), nil
				}
			}
			got, err := stream.Recv()
			if err != nil {
				return LogEntry{}, err
			}
			ready = got.Messages
		}
	}
}

// entryOf translates a line. Whose it was is the swarm's word, not the container's.
func entryOf(m api.LogMessage) LogEntry {
	out := LogEntry{Stderr: m.Stream == api.LogStreamStderr, Text: m.Data, Attributes: map[string]string{}}
	out.Time, _ = gogotypes.TimestampFromProto(m.Timestamp)
	for _, a := range m.Attrs {
		out.Attributes[a.Key] = a.Value
	}
	out.Attributes[prefix+"node.id"] = m.Context.NodeID
	out.Attributes[prefix+"service.id"] = m.Context.ServiceID
	out.Attributes[prefix+"task.id"] = m.Context.TaskID
	return out
}
