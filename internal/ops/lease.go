package ops

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// checkLeased refuses what a network with a DHCP server cannot have.
func checkLeased(n model.Network, d driver.Driver) error {
	if len(n.IPAM.Pools) > 0 {
		return &model.Error{Op: "network.create", Kind: model.Invalid,
			Err: model.Errorf(model.Invalid, "the IPAM driver %s takes no subnets, gateways and ranges", model.IPAMDHCP),
			Who: "those are what the server gives", Way: "leave them out, or let Linkspan give out addresses: --ipam-driver default"}
	}
	if !n.IPv4 {
		return model.Errorf(model.Invalid, "the IPAM driver %s gives IPv4 addresses, and the network has none", model.IPAMDHCP)
	}
	l, ok := d.(driver.Leaser)
	if !ok {
		return &model.Error{Op: "network.create", Kind: model.Invalid,
			Err: model.Errorf(model.Invalid, "the IPAM driver %s cannot give addresses on %s networks", model.IPAMDHCP, n.Driver),
			Who: "it is for networks on the host's own interfaces, where a DHCP server is"}
	}
	_, err := l.LeaseDevice(n)
	return err
}

// leased gives an endpoint what a DHCP server has said for it, on a network that has one.
// Before somebody has asked the server it fails with facts.Missing.
func leased(tx Tx, n model.Network, sb model.Sandbox, e model.Endpoint) (model.Endpoint, error) {
	if !n.Leased() {
		e.Lease4 = nil
		return e, nil
	}
	if l := tx.Facts().Endpoint(e.ID).Lease4; l != nil {
		return withLease(e, l), nil
	}
	return e, &facts.Missing{Question: facts.Question{Network: n, Endpoint: e, Sandbox: sb}}
}

// withLease returns an endpoint that has a lease; with nil, one that has lost its own.
func withLease(e model.Endpoint, l *model.Lease) model.Endpoint {
	e.Lease4 = l
	if l == nil {
		return e.WithAddress(model.IPv4, netip.Addr{}, false)
	}
	return e.WithAddress(model.IPv4, l.Prefix.Addr(), false)
}

// SetLease returns the op that notes what a DHCP server says now for an endpoint: a lease
// that was renewed, or another one; with nil, that it has none. Of an endpoint that is not
// up there is nothing to note.
func SetLease(id model.EndpointID, l *model.Lease) Op {
	return func(tx Tx) error {
		e, ok := tx.View().Endpoint(id)
		if !ok || !e.Up {
			return nil
		}
		tx.PutEndpoint(withLease(e, l))
		return nil
	}
}
