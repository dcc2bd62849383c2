package keeper

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
)

// Claim implements engine.Claimer: sockets of the keeper hold the ports.
func (k *Keeper) Claim(ctx context.Context, rows []desired.Reserve) error {
	return k.ports(ctx, wire.VerbClaim, wire.Claims{Rows: rows}, nil)
}

// Release implements engine.Claimer.
func (k *Keeper) Release(ctx context.Context, rows []desired.Reserve) error {
	return k.ports(ctx, wire.VerbUnclaim, wire.Claims{Rows: rows}, nil)
}

// Claimed implements engine.Claimer.
func (k *Keeper) Claimed(ctx context.Context) ([]desired.Reserve, error) {
	var held wire.Claims
	err := k.ports(ctx, wire.VerbClaimed, nil, &held)
	return held.Rows, err
}

// ports makes a call of any keeper that answers in time.
func (k *Keeper) ports(ctx context.Context, verb wire.Verb, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for {
		l, err := k.reach(ctx)
		if err != nil {
			return err
		}
		if err = l.call(ctx, verb, body, answer); !errors.Is(err, errGone) {
			return err
		}
	}
}
