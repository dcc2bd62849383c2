package plan

import (
	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
)

// published plans a sandbox's published ports, each at the endpoint that it was
// decided to lead to. They belong to the sandbox, so that they follow when that
// becomes another endpoint.
func (in Input) published(sb model.Sandbox, members []gateway.Member) ([]desired.Row, error) {
	var rows []desired.Row
	for _, m := range members {
		p, ok := in.Drivers.Publisher(m.Network)
		ports := append(leadingTo(m.Endpoint.ID, sb.Routed), leadingTo(m.Endpoint.ID, sb.Ports)...)
		if !ok || len(ports) == 0 {
			continue
		}
		more, err := p.Publish(in.view(m.Network, m.Endpoint, sb), ports)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// leadingTo returns the bindings that lead to an endpoint.
func leadingTo(id model.EndpointID, ports []model.PortBinding) []model.PortBinding {
	var out []model.PortBinding
	for _, b := range ports {
		if b.Endpoint == id {
			out = append(out, b)
		}
	}
	return out
}
