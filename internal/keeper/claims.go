package keeper

import (
	"context"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
)

// Claim implements engine.Claimer: sockets of the keeper hold the ports.
func (k *Keeper) Claim(ctx context.Context, rows []desired.Reserve) error {
	return k.askInTime(ctx, wire.VerbClaim, wire.Claims{Rows: rows}, nil)
}

// Release implements engine.Claimer.
func (k *Keeper) Release(ctx context.Context, rows []desired.Reserve) error {
	return k.askInTime(ctx, wire.VerbUnclaim, wire.Claims{Rows: rows}, nil)
}

// Claimed implements engine.Claimer.
func (k *Keeper) Claimed(ctx context.Context) ([]desired.Reserve, error) {
	var held wire.Claims
	err := k.askInTime(ctx, wire.VerbClaimed, nil, &held)
	return held.Rows, err
}
