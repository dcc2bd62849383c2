package ops

import (
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
)

// PutIngress has the namespace of an ingress network, which sb stands for, publish ports of
// the host: it is on the gateway bridge for that, and if the network has IPv6 so has that
// bridge from then on. Each port is taken by itself; refused says why one cannot be had.
func PutIngress(tx Tx, sb model.Sandbox, ipv6 bool, specs []model.PortSpec) (refused map[model.PortSpec]error, err error) {
	if have, there := tx.View().Sandbox(sb.ID); there {
		sb = have
	} else {
		sb.Mode, sb.Up, sb.Generation = model.SandboxOwn, true, 1
	}
	sb.Publish = nil
	tx.PutSandbox(sb)
	if err = openGate(tx, sb.ID, ipv6); err != nil {
		return nil, err
	}
	p, err := newPublisher(tx, sb)
	if err != nil {
		return nil, err
	}
	refused = map[model.PortSpec]error{}
	for _, spec := range specs {
		if err := p.settle([]model.PortSpec{spec}); err != nil {
			refused[spec] = err
		} else {
			sb.Publish = append(sb.Publish, spec)
		}
	}
	sb.Ports = p.got
	tx.PutSandbox(sb)
	return refused, nil
}

// openGate has a sandbox that is up be on the gateway bridge.
func openGate(tx Tx, id model.SandboxID, ipv6 bool) error {
	n, err := ensureGatewayNetwork(tx)
	if err != nil {
		return err
	}
	if ipv6 && !n.IPv6 && !tx.Facts().Host.NoIPv6 {
		n.IPv6 = true
		if err := tx.Maker.put(tx, n, n); err != nil {
			return err
		}
	}
	if e, there := tx.View().EndpointAt(id, n.ID); there {
		if e.Addr6.IsValid() || !n.IPv6 {
			return nil
		}
		tx.DeleteEndpoint(e.ID)
	}
	return attach(tx, model.Endpoint{
		ID: model.EndpointID(computedID("gateway", string(id))), Network: n.ID, Sandbox: id, WayOut: true,
		DriverOpts: map[string]string{driver.OptionInterface: desired.Gate},
	})
}
