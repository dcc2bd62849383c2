package serve

import (
	"context"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/keeper/wire"
	"github.com/linkspan/linkspan/internal/model"
)

// lease does what a request about leases asks for.
func (s *Server) lease(ctx context.Context, r wire.Request) (any, error) {
	if s.o.Leases == nil {
		return nil, model.Errorf(model.NotImplemented, "this keeper asks no DHCP servers")
	}
	switch r.Verb {
	case wire.VerbLeaseAsk:
		return with(r, func(b facts.LeaseRequest) (any, error) {
			lease, err := s.o.Leases.Ask(ctx, b)
			return wire.Leased{Lease: lease}, err
		})
	case wire.VerbLeaseReturn:
		return with(r, func(b wire.LeaseOf) (any, error) { return nil, s.o.Leases.Return(ctx, b.Endpoint) })
	}
	return with(r, func(b wire.Leases) (any, error) {
		revision, held, err := s.o.Leases.Watch(ctx, b.Revision)
		return wire.Leases{Revision: revision, Held: held}, err
	})
}
