package plan

import (
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// published plans a sandbox's published ports: each leads to the endpoint that
// provides the default gateway in the family of the host's address. They belong
// to the sandbox, so that they follow when that becomes another endpoint. Routed
// networks are reached without the host's ports, so each of them is open.
func (in Input) published(sb model.Sandbox, members []gateway.Member) ([]desired.Row, error) {
	var rows []desired.Row
	for _, f := range model.Families {
		m, _, ok := gateway.Of(members, f)
		beside, err := in.routedBeside(m, sb, members, f)
		if err != nil {
			return nil, err
		}
		rows = append(rows, beside...)
		if !ok && f == model.IPv6 { // IPv6 clients of a container without IPv6
			m, _, ok = gateway.Of(members, model.IPv4)
		}
		if !ok {
			continue
		}
		more, err := in.publishedAt(m, sb, family(sb.Ports, f))
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// routedBeside opens the published ports on routed networks that are not the one
// the sandbox leaves by: no host port leads there, but somebody may route to it.
func (in Input) routedBeside(leaves gateway.Member, sb model.Sandbox, members []gateway.Member, f model.Family) ([]desired.Row, error) {
	var ports []model.PortBinding
	for _, spec := range sb.Publish {
		if !spec.Host.IsValid() || model.FamilyOf(spec.Host) == f {
			ports = append(ports, model.PortBinding{Protocol: spec.Protocol, Container: spec.Container, Host: f.Unspecified()})
		}
	}
	var rows []desired.Row
	for _, m := range members {
		p, publishes := in.Drivers.Publisher(m.Network)
		if m.Endpoint.ID == leaves.Endpoint.ID || m.Network.Internal || !publishes {
			continue
		}
		o, err := p.Publishing(m.Network)
		if err != nil {
			return nil, err
		}
		if !o.Routed(f) {
			continue
		}
		more, err := in.publishedAt(m, sb, ports)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

func (in Input) publishedAt(m gateway.Member, sb model.Sandbox, ports []model.PortBinding) ([]desired.Row, error) {
	d, err := in.Drivers.Find(m.Network.Driver)
	if err != nil {
		return nil, err
	}
	p, ok := d.(driver.Publisher)
	if !ok || len(ports) == 0 {
		return nil, nil
	}
	return p.Publish(in.view(m.Network, m.Endpoint, sb), ports)
}

// family returns the bindings of one family of the host's addresses.
func family(ports []model.PortBinding, f model.Family) []model.PortBinding {
	var out []model.PortBinding
	for _, b := range ports {
		if model.FamilyOf(b.Host) == f {
			out = append(out, b)
		}
	}
	return out
}
