package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// Outputs is the readers of container output in the keeper. It remembers what is
// open, so that a keeper that was started anew is told.
type Outputs struct {
	keeper *Keeper

	mu      sync.Mutex // guards the fields below; restoring holds it too
	open    map[model.ContainerID]*opened
	readers map[*reader]bool
}

// opened is an output that the keeper reads.
type opened struct {
	output model.Output
	begun  bool
}

// Open begins to read a container's FIFOs, which exist; before the process has
// opened its ends, so that nothing is lost.
func (o *Outputs) Open(ctx context.Context, output model.Output) error {
	o.mu.Lock()
	o.open[output.Container] = &opened{output: output}
	o.mu.Unlock()
	return o.keeper.askInTime(ctx, wire.VerbOpen, output, nil)
}

// Begun says that the process has opened its ends: their closing is the end of
// output.
func (o *Outputs) Begun(ctx context.Context, id model.ContainerID) error {
	o.mu.Lock()
	if one, ok := o.open[id]; ok {
		one.begun = true
	}
	o.mu.Unlock()
	return o.keeper.askInTime(ctx, wire.VerbBegun, wire.Subject{Container: id}, nil)
}

// Drain returns once a container's output has ended and is in its log.
func (o *Outputs) Drain(ctx context.Context, id model.ContainerID) error {
	_, err := o.keeper.ask(ctx, wire.VerbDrain, wire.Subject{Container: id}, nil)
	return err
}

// Close ends the reading of a container's output: its log is complete, and
// clients get what is queued for them and then io.EOF.
func (o *Outputs) Close(ctx context.Context, id model.ContainerID) error {
	o.mu.Lock()
	delete(o.open, id)
	o.mu.Unlock()
	return o.keeper.askInTime(ctx, wire.VerbClose, wire.Subject{Container: id}, nil)
}

// Keep closes the outputs of all containers but these: those that an earlier
// daemon left.
func (o *Outputs) Keep(ctx context.Context, ids []model.ContainerID) error {
	return o.keeper.askInTime(ctx, wire.VerbKeep, wire.Subjects{Containers: ids}, nil)
}

// restore tells a keeper that was started anew what it shall read, and connects
// the clients first, so that they miss nothing of it.
func (o *Outputs) restore(ctx context.Context, s *session) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range o.readers {
		r.rejoin(ctx)
	}
	for _, id := range slices.Sorted(maps.Keys(o.open)) {
		one := o.open[id]
		if err := s.call(ctx, wire.VerbOpen, one.output, nil); err != nil {
			if model.KindOf(err) == model.Unavailable {
				return err
			}
			// A process that ended meanwhile took its FIFOs along.
			o.keeper.log.Warn("output is not read on", "container", model.Short(id), "op", "keeper.restore", "err", err)
			continue
		}
		if !one.begun {
			continue
		}
		if err := s.call(ctx, wire.VerbBegun, wire.Subject{Container: id}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Follow returns a container's output from now on, also of runs to come.
func (o *Outputs) Follow(ctx context.Context, id model.ContainerID, stdout, stderr bool) (*Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r := &reader{outputs: o, what: wire.Follow{Container: id, Stdout: stdout, Stderr: stderr}, next: make(chan *stream, 1)}
	for {
		if _, err := o.keeper.reach(ctx); err != nil {
			return nil, err
		}
		s, err := r.connect(ctx)
		if err == nil {
			o.mu.Lock()
			o.readers[r] = true
			o.mu.Unlock()
			return &Reader{reader: r, current: s, joined: s.joined}, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("follow output: %w", errors.Join(ctx.Err(), err))
		}
		select {
		case <-time.After(retryTime):
		case <-ctx.Done():
		}
	}
}
