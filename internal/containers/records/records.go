// Package records writes containers' records into the engine's state.
//
// What belongs together, such as a record and its sandbox, is one op: all of it
// changes or nothing. It promises that what it returned without an error is stored;
// it keeps nothing in memory. Whoever calls must be the only one who changes the
// container at the time.
package records

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Engine is where the state is changed.
type Engine interface {
	Do(ctx context.Context, op ops.Op) (*state.Snapshot, error)
	Snapshot() *state.Snapshot
}

// Records is the way to the state.
type Records struct {
	Engine Engine
	Log    *slog.Logger
}

// Create stores the record of a new container, together with what further ops
// change. Conflict if another has the name.
func (s Records) Create(ctx context.Context, r containerrecord.Record, further ...ops.Op) error {
	return s.do(ctx, r, ops.CreateContainer, further)
}

// Commit replaces the record of a container, together with what further ops change.
func (s Records) Commit(ctx context.Context, r containerrecord.Record, further ...ops.Op) error {
	return s.do(ctx, r, ops.PutContainer, further)
}

// Rename replaces the record of a container by one that has another name, to which
// its sandbox then answers too. Conflict if another has that name.
func (s Records) Rename(ctx context.Context, r containerrecord.Record) error {
	return s.do(ctx, r, ops.RenameContainer, nil)
}

// do is one op on a record and what goes with it.
func (s Records) do(ctx context.Context, r containerrecord.Record, on func(model.Container) ops.Op, further []ops.Op) error {
	document, err := containerrecord.Encode(r)
	if err != nil {
		return err
	}
	first := on(model.Container{ID: r.ID, Name: r.Name, Document: document})
	_, err = s.Engine.Do(ctx, ops.All(append([]ops.Op{first}, further...)...))
	return err
}

// Save is Commit of a record alone, whatever becomes of ctx.
func (s Records) Save(ctx context.Context, r containerrecord.Record) error {
	if err := s.Commit(context.WithoutCancel(ctx), r); err != nil {
		return fmt.Errorf("store record of container %s: %w", model.Short(r.ID), err)
	}
	return nil
}

// SaveLogged is Save where nobody can be told of a failure. op says in the log what
// was being done.
func (s Records) SaveLogged(ctx context.Context, r containerrecord.Record, op string) {
	if err := s.Save(ctx, r); err != nil {
		s.Log.Error("record not stored", "container", model.Short(r.ID), "op", op, "err", err)
	}
}

// TakeDown replaces the record of a container whose network goes down with that. If
// it is not to come back by itself, others may have its addresses.
func (s Records) TakeDown(ctx context.Context, after containerrecord.Record, back bool) error {
	var down []ops.Op
	if id := after.Sandbox; id != "" {
		down = append(down, ops.StopSandbox(id))
		if !back {
			down = append(down, ops.YieldSandbox(id))
		}
	}
	return s.Commit(ctx, after, down...)
}

// Forget takes a container out of the state, with its sandbox. If the kernel does not
// let go of that at the moment, the record goes alone, and the ID of the sandbox is
// returned: it is to be removed later.
func (s Records) Forget(ctx context.Context, id model.ContainerID) (held model.SandboxID, err error) {
	sb, _ := s.Engine.Snapshot().SandboxOf(id)
	if _, err = s.Engine.Do(ctx, ops.RemoveContainer(id)); err == nil {
		return "", nil
	}
	_, err = s.Engine.Do(ctx, ops.ForgetContainer(id))
	return sb.ID, err
}
