package driver

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// Publisher is a Driver whose containers' ports can be published.
type Publisher interface {
	// Publishing says how a network publishes ports. Errors are Invalid, in Docker's
	// words.
	Publishing(n model.Network) (Publishing, error)
	// Publish returns the rows of ports that lead to v.Endpoint, which is up.
	Publish(v View, ports []model.PortBinding) ([]desired.Row, error)
}

// Publishing is how a network publishes ports.
type Publishing struct {
	// Routed4 and Routed6 say that published ports are reached at the containers' own
	// addresses of that family, and never by the host's.
	Routed4, Routed6 bool
	// Host is where ports are published that do not say; 0.0.0.0 is every address
	// of both families.
	Host netip.Addr
}

// Routed tells whether published ports are reached at addresses of family f of the
// containers only.
func (p Publishing) Routed(f model.Family) bool {
	if f == model.IPv4 {
		return p.Routed4
	}
	return p.Routed6
}
