// Package ops holds what a user can ask, a file for a verb, or for a few that
// belong together. An op is a pure function on a transaction: it reads the model,
// refuses with Docker's words or writes what shall be.
//
// Ops perform no I/O and make no choice by chance: IDs and times are arguments,
// so that an op that lost a race can be run again.
package ops

import (
	"errors"
	"time"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Tx is what an op reads and writes: a transaction, and the kinds of networks there
// are.
type Tx struct {
	*state.Tx
	Drivers driver.Set
	// Maker and Now are for what an op makes by itself: how networks are made, and when
	// that is.
	Maker NetworkMaker
	Now   time.Time
}

// Begin starts a transaction on a snapshot.
func Begin(s *state.Snapshot, f facts.Set, d driver.Set) Tx {
	return Tx{Tx: state.Begin(s, f), Drivers: d, Maker: NetworkMaker{Drivers: d}}
}

// Op is one request. An op that returns an error must be taken not to have
// happened: its transaction is dropped.
type Op func(Tx) error

// EndpointSpec is a membership as the user asks for it.
type EndpointSpec = model.EndpointSpec

// All returns an op that runs several as one: all happen or none does.
func All(ops ...Op) Op {
	return func(tx Tx) error {
		for _, op := range ops {
			if err := op(tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// withPrefix puts words before the first line of err, keeping its kind.
func withPrefix(prefix string, err error) error {
	if err == nil {
		return nil
	}
	var e *model.Error
	if errors.As(err, &e) {
		return &model.Error{Op: e.Op, Subject: e.Subject, Kind: model.KindOf(err), Err: errors.New(prefix + e.Err.Error()), Who: e.Who, Way: e.Way}
	}
	return model.Errorf(model.Internal, "%s%w", prefix, err)
}

func sandboxNamed(tx Tx, id model.SandboxID) (model.Sandbox, error) {
	sb, ok := tx.View().Sandbox(id)
	if !ok {
		return sb, model.Errorf(model.NotFound, "sandbox %s not found", model.Short(id))
	}
	return sb, nil
}
