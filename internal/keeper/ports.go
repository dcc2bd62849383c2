package keeper

import (
	"context"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/keeper/wire"
)

// Reserve implements engine.PortReserver: sockets of the keeper hold the ports.
func (k *Keeper) Reserve(ctx context.Context, rows []desired.Reserve) error {
	return k.askInTime(ctx, wire.VerbReserve, wire.Reservations{Rows: rows}, nil)
}

// Release implements engine.PortReserver.
func (k *Keeper) Release(ctx context.Context, rows []desired.Reserve) error {
	return k.askInTime(ctx, wire.VerbRelease, wire.Reservations{Rows: rows}, nil)
}

// Reserved implements engine.PortReserver.
func (k *Keeper) Reserved(ctx context.Context) ([]desired.Reserve, error) {
	var held wire.Reservations
	err := k.askInTime(ctx, wire.VerbReserved, nil, &held)
	return held.Rows, err
}
