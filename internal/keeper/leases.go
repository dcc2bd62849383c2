package keeper

import (
	"context"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// AskLease asks a DHCP server for an address of an endpoint, or returns the lease that it
// has. ctx bounds it.
func (k *Keeper) AskLease(ctx context.Context, r facts.LeaseRequest) (model.Lease, error) {
	var out wire.Leased
	_, err := k.ask(ctx, wire.VerbLeaseAsk, r, &out)
	return out.Lease, err
}

// ReturnLease gives a lease back to its server. One that is not held is success.
func (k *Keeper) ReturnLease(ctx context.Context, id model.EndpointID) error {
	_, err := k.ask(ctx, wire.VerbLeaseReturn, wire.LeaseOf{Endpoint: id}, nil)
	return err
}

// WatchLeases returns all leases that are held once they are not those of the revision
// seen, and the revision that they are of; at once for 0. A keeper that was started anew
// counts anew.
func (k *Keeper) WatchLeases(ctx context.Context, seen uint64) (uint64, []facts.HeldLease, error) {
	var out wire.Leases
	s, err := k.reach(ctx)
	if err == nil {
		err = s.call(ctx, wire.VerbLeaseWatch, wire.Leases{Revision: seen}, &out)
	}
	return out.Revision, out.Held, err
}
