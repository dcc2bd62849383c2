package containerspec

import (
	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ports"
)

// Publications returns what a container publishes: the ports it was told to, and
// with --publish-all also those that it exposes.
func Publications(c *container.Config, h *container.HostConfig) ([]model.PortSpec, error) {
	var asked []ports.Asked
	for port, bindings := range h.PortBindings {
		for _, b := range bindings {
			asked = append(asked, ports.Asked{
				Container: port.Num(), Protocol: model.Protocol(port.Proto()), Host: b.HostIP, HostPort: b.HostPort,
			})
		}
		if h.PublishAllPorts && len(bindings) == 0 {
			asked = append(asked, ports.Asked{Container: port.Num(), Protocol: model.Protocol(port.Proto())})
		}
	}
	if h.PublishAllPorts {
		for port := range c.ExposedPorts {
			if _, bound := h.PortBindings[port]; !bound {
				asked = append(asked, ports.Asked{Container: port.Num(), Protocol: model.Protocol(port.Proto())})
			}
		}
	}
	return ports.Parse(asked)
}

// checkPorts refuses Publications that cannot be.
func checkPorts(r Request) error {
	_, err := Publications(r.Config, r.Host)
	return err
}
