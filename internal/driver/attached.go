package driver

import (
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Switcher is a Driver whose networks are switches on the host, with a port for each
// endpoint.
type Switcher interface {
	// Device returns the name of a network's interface on the host.
	Device(n model.Network) string
	// Port returns the name of the host's end of an endpoint that is up, in the start
	// of its container that generation counts.
	Port(e model.Endpoint, generation uint64) string
}

// Device returns the name of a network's interface on the host; false if it has none.
func (s Set) Device(n model.Network) (string, bool) {
	d, err := s.Find(n.Driver)
	sw, ok := d.(Switcher)
	if err != nil || !ok {
		return "", false
	}
	return sw.Device(n), true
}

// Attached is a container on a network that is a switch, by what its port is known.
type Attached struct {
	Port     string // the host's end
	Network  model.Network
	Sandbox  model.Sandbox
	Endpoint model.Endpoint
	Security PortSecurity
}

// AttachedTo returns the endpoint that is up with those records; false if it has no
// port on the host.
func (s Set) AttachedTo(view *state.Snapshot, e model.Endpoint) (Attached, bool) {
	n, _ := view.Network(e.Network)
	sb, ok := view.Sandbox(e.Sandbox)
	d, err := s.Find(n.Driver)
	sw, switched := d.(Switcher)
	if !ok || !e.Up || err != nil || !switched {
		return Attached{}, false
	}
	security, err := PortSecurityOf(n.Options, e.DriverOpts)
	if err != nil { // refused when they were made
		security = SecurityStrict
	}
	return Attached{sw.Port(e, sb.Generation), n, sb, e, security}, true
}

// ByPort returns all endpoints that are up on networks that are switches, by their
// ports.
func (s Set) ByPort(view *state.Snapshot) map[string]Attached {
	out := map[string]Attached{}
	for e := range view.Endpoints() {
		if a, ok := s.AttachedTo(view, e); ok {
			out[a.Port] = a
		}
	}
	return out
}
