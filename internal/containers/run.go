package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/logger"
	"github.com/linkspan/linkspan/internal/logoptions"
	"github.com/linkspan/linkspan/internal/model"
)

// run is one life of a container's process, from NewTask to the recorded exit.
type run struct {
	stdin io.WriteCloser // nil if it has none
	ended chan struct{}  // the exit is recorded, the sandbox is down
	// unseen says that it ended with the machine or the runtime: that the program
	// runs again is no restart, as with Docker.
	unseen bool
}

func newRun(b *entry, stdin io.WriteCloser) *run {
	if stdin != nil {
		b.input.Set(stdin)
	}
	return &run{stdin: stdin, ended: make(chan struct{})}
}

// close closes the input of a process that has ended.
func (r *run) close() {
	if r.stdin != nil {
		r.stdin.Close() //nolint:errcheck // nobody reads it any more
	}
}

// outputs has what containers print read and logged.
type outputs struct {
	reader Outputs
	logs   Logs
	dirs   containerfiles.Dirs
	closed context.Context // ends with the manager
	log    *slog.Logger
}

// openOutput has a container's output read and logged. Drivers that write
// elsewhere are refused when the container is made.
func (out *outputs) openOutput(ctx context.Context, b *entry, pipes model.Pipes, running bool) error {
	o := model.Output{Container: b.id, Pipes: pipes, Running: running}
	rec := b.snapshot()
	c := rec.Host.LogConfig
	o.Driver, o.Options = c.Type, c.Config
	if logoptions.Kept(c.Type, c.Config) {
		o.Log = out.dirs.LogOf(b.id, c.Type)
	}
	var err error
	if o.Attributes, o.Source, err = logger.Of(rec.plain(), out.dirs.Log(rec.ID)); err != nil {
		// Refused when the container is made; one of an earlier release shall not fail.
		out.log.Warn("log attributes are not noted", "container", model.Short(b.id), "op", "output.open", "err", err)
	}
	if err = out.reader.Open(ctx, o); err != nil {
		return fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	return nil
}

// closeOutput ends the reading of a container's output, and the clients attached.
func (out *outputs) closeOutput(ctx context.Context, b *entry) {
	b.input.Set(nil)
	if err := out.reader.Close(ctx, b.id); err != nil {
		out.log.Warn("output not closed", "container", model.Short(b.id), "op", "output.close", "err", err)
	}
}

// drained waits until the output of an ended process was read, within limits.
func (out *outputs) drained(b *entry) {
	ctx, cancel := context.WithTimeout(out.closed, drainLimit)
	defer cancel()
	err := out.reader.Drain(ctx, b.id)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		out.log.Warn("output goes on after the end", "container", model.Short(b.id), "op", "container.exit")
	} else if err != nil {
		out.log.Warn("output may not be complete", "container", model.Short(b.id), "op", "container.exit", "err", err)
	}
}
