package ops

import (
	"errors"
	"fmt"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// leased gives an endpoint what a DHCP server has said for it, on a network that has one.
// Before somebody has asked the server it fails with facts.Missing.
func leased(tx Tx, n model.Network, sb model.Sandbox, e model.Endpoint) (model.Endpoint, error) {
	if !n.Leased() {
		e.Lease4, e.Lease6 = nil, nil
		return e, nil
	}
	known, ask := tx.Facts().Endpoint(e.ID), facts.Question{Network: n, Endpoint: e, Sandbox: sb}
	for _, f := range model.Families {
		switch {
		case !n.Enabled(f) || f == model.IPv6 && driver.IPv6Off(sb, e):
			e = e.WithLease(f, nil)
		case known.Lease(f) != nil:
			e = e.WithLease(f, known.Lease(f))
		default:
			ask.Families = append(ask.Families, f)
		}
	}
	if len(ask.Families) == 0 {
		return e, nil
	}
	if a, static := e.Wished4(); static {
		if holder, held := holderOf(tx, n, e, a); held {
			return e, &model.Error{Op: "endpoint.attach", Subject: "network " + n.Name, Kind: model.Forbidden,
				Err: errors.New(addressInUse), Who: fmt.Sprintf("%s is held by %s", a, holder)}
		}
	}
	return e, &facts.Missing{Question: ask}
}

// SetLease returns the op that notes what is said now of an endpoint's address of family f: a
// lease that was renewed, or another one; with nil, that it has none. Of an endpoint that is
// not up there is nothing to note.
func SetLease(id model.EndpointID, f model.Family, l *model.Lease) Op {
	return func(tx Tx) error {
		e, ok := tx.View().Endpoint(id)
		if !ok || !e.Up {
			return nil
		}
		tx.PutEndpoint(e.WithLease(f, l))
		return nil
	}
}
