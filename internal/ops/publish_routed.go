package ops

import (
	"slices"

	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// routed returns what is open besides at the container's own addresses: its published
// ports on routed networks that are not the one it leaves by. No host port leads
// there, but somebody may route to it.
func (p *publisher) routed(tx Tx) ([]model.PortBinding, error) {
	var out []model.PortBinding
	for _, f := range model.Families {
		for _, m := range p.members {
			driver, publishes := tx.Drivers.Publisher(m.Network)
			if m.Endpoint.ID == p.leaves(f) || m.Network.Internal || !publishes {
				continue
			}
			o, err := driver.Publishing(m.Network)
			if err != nil {
				return nil, err
			}
			if !o.Routed(f) {
				continue
			}
			for _, spec := range p.sb.Publish {
				if !spec.Host.IsValid() || model.FamilyOf(spec.Host) == f {
					out = append(out, model.PortBinding{Protocol: spec.Protocol, Container: spec.Container, Host: f.Unspecified(), Endpoint: m.Endpoint.ID})
				}
			}
		}
	}
	return out, nil
}

// leaves returns the endpoint by which family f leaves; none if it does not.
func (p *publisher) leaves(f model.Family) model.EndpointID {
	m, _, _ := gateway.Of(p.members, f)
	return m.Endpoint.ID
}

// SettlePublished returns the op that says where published ports lead, of containers
// that run since a release which did not write it down. The ports stay the ones that
// they are.
func SettlePublished() Op {
	return func(tx Tx) error {
		for sb := range tx.View().Sandboxes() {
			if !sb.Up || len(sb.Publish) == 0 && len(sb.Ports) == 0 {
				continue
			}
			settled, err := settled(tx, sb)
			if err != nil {
				return err
			}
			if !slices.Equal(settled.Ports, sb.Ports) || !slices.Equal(settled.Routed, sb.Routed) {
				tx.PutSandbox(settled)
			}
		}
		return nil
	}
}

func settled(tx Tx, sb model.Sandbox) (model.Sandbox, error) {
	p, err := newPublisher(tx, sb)
	if err != nil {
		return sb, err
	}
	// What is open stays so, whether or not the host has IPv6 by now.
	if p.four, p.six, err = waysOf(tx, p.members); err != nil {
		return sb, err
	}
	sb.Ports = slices.Clone(sb.Ports)
	for i, b := range sb.Ports {
		if b.Endpoint == "" {
			sb.Ports[i].Endpoint = p.wayTo(b.Host).endpoint
		}
	}
	sb.Routed, err = p.routed(tx)
	return sb, err
}
