package inspect

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Port is a stretch of host ports that leads to a running container.
type Port struct {
	Sandbox model.Sandbox
	Binding model.PortBinding
	// Counts are nil where the kernel does not see it: routed ports, a forwarder's.
	Counts *facts.PortTraffic
}

// portKey is by what a binding and its counters are known.
type portKey struct {
	protocol model.Protocol
	host     netip.Addr
	first    uint16
}

// portsOf returns what is published, ordered by host port, with what was counted
// there.
func portsOf(s *state.Snapshot, t facts.Traffic) []Port {
	counts := make(map[portKey]*facts.PortTraffic, len(t.Ports))
	for i, p := range t.Ports {
		counts[portKey{p.Protocol, p.Host, p.First}] = &t.Ports[i]
	}
	var all []Port
	for sb := range s.Sandboxes() {
		for _, b := range sb.Ports {
			if sb.Up {
				all = append(all, Port{sb, b, counts[portKey{b.Protocol, b.Host, b.HostFirst}]})
			}
		}
	}
	slices.SortFunc(all, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Binding.HostFirst, b.Binding.HostFirst), cmp.Compare(a.Binding.Protocol, b.Binding.Protocol),
			a.Binding.Host.Compare(b.Binding.Host), cmp.Compare(a.Sandbox.Name, b.Sandbox.Name))
	})
	return all
}

// Network is what crossed the border of one network.
type Network struct {
	Name string
	facts.BridgeTraffic
}

// networksOf returns the networks whose devices have counters, by name.
func networksOf(s *state.Snapshot, drivers driver.Set, t facts.Traffic) []Network {
	bridges := make(map[string]facts.BridgeTraffic, len(t.Bridges))
	for _, b := range t.Bridges {
		bridges[b.Bridge] = b
	}
	var all []Network
	for n := range s.Networks() {
		device, _ := drivers.Device(n)
		if b, ok := bridges[device]; ok {
			all = append(all, Network{n.Name, b})
		}
	}
	slices.SortFunc(all, func(a, b Network) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Bridge, b.Bridge))
	})
	return all
}

// PortUsers are those who have or want one host port.
type PortUsers struct {
	Containers []PortUser
	Processes  []facts.Listener // that hold it for no container
}

// Free tells whether nobody has the port now.
func (u PortUsers) Free() bool {
	return len(u.Processes) == 0 && !slices.ContainsFunc(u.Containers, func(c PortUser) bool { return c.Running })
}

// PortUser is a container that has a port, or claims it for when it runs.
type PortUser struct {
	Protocol model.Protocol
	At       netip.AddrPort
	Running  bool
	Sandbox  model.Sandbox
}

// PortUsers returns who has one host port, in any protocol, and who will want it.
func (r *Reader) PortUsers(ctx context.Context, port uint16) (PortUsers, error) {
	var listeners []facts.Listener
	if r.o.Listeners != nil {
		var err error
		if listeners, err = r.o.Listeners(ctx, port); err != nil {
			return PortUsers{}, err
		}
	}
	out := PortUsers{Containers: usersOf(r.o.Engine.Snapshot(), port)}
	for _, l := range listeners {
		if !holds(out.Containers, l) {
			out.Processes = append(out.Processes, l)
		}
	}
	return out, nil
}

// usersOf returns which containers have or claim a port.
func usersOf(s *state.Snapshot, port uint16) []PortUser {
	var out []PortUser
	for _, protocol := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
		for u := range s.PortUses(protocol, model.Port(port)) {
			sb, _ := s.Sandbox(u.Sandbox)
			out = append(out, PortUser{protocol, netip.AddrPortFrom(u.Addr, port), u.Running, sb})
		}
	}
	return out
}

// holds tells whether a socket is what holds a published port for its container:
// nobody else can listen where one of them has the port.
func holds(users []PortUser, l facts.Listener) bool {
	return slices.ContainsFunc(users, func(u PortUser) bool {
		a, b := u.At.Addr(), l.At.Addr()
		return u.Running && u.Protocol == l.Protocol && a.Is4() == b.Is4() && (a == b || a.IsUnspecified())
	})
}
