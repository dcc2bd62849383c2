package overlays

import (
	"cmp"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Refused are ports of the swarm that this host cannot have, and why: somebody else has them.
type Refused map[model.PortSpec]error

// Wanted returns the ports that services of the swarm publish on all of its hosts, in order:
// those of every task that is known, ready or not, so that a port stays this host's while a
// service is being updated. There is no ingress network without its ID.
func Wanted(s *state.Snapshot, known facts.Set) (ingress model.Network, specs []model.PortSpec) {
	for n := range s.Networks() {
		if n.Ingress && n.Overlay() {
			ingress = n
		}
	}
	if ingress.ID == "" {
		return ingress, nil
	}
	for _, m := range driver.Members(s, known.Overlay(ingress.ID)) {
		if m.Service == nil {
			continue
		}
		for _, p := range m.Service.Ingress {
			specs = append(specs, model.PortSpec{Protocol: p.Protocol, Container: model.Port(p.Published), HostPorts: model.Port(p.Published)})
		}
	}
	slices.SortFunc(specs, func(a, b model.PortSpec) int {
		return cmp.Or(cmp.Compare(a.HostPorts.First, b.HostPorts.First), cmp.Compare(a.Protocol, b.Protocol))
	})
	return ingress, slices.Compact(specs)
}

// Published returns the ports of the swarm that this host has.
func Published(s *state.Snapshot, ingress model.NetworkID) []model.PortSpec {
	sb, _ := s.Sandbox(model.IngressSandbox(ingress).ID)
	return sb.Publish
}

// Publish returns the op that has this host publish what services of the swarm want, and
// nothing else. When it has run, refused says what it cannot have.
func Publish(refused *Refused) ops.Op {
	return func(tx ops.Tx) (err error) {
		*refused = nil
		n, specs := Wanted(tx.View(), tx.Facts())
		for sb := range tx.View().Sandboxes() {
			if sb.Ingress != "" && (sb.Ingress != n.ID || len(specs) == 0) {
				if err := ops.RemoveSandbox(sb.ID)(tx); err != nil {
					return err
				}
			}
		}
		if len(specs) > 0 {
			*refused, err = ops.PutIngress(tx, model.IngressSandbox(n.ID), n.IPv6, specs)
		}
		return err
	}
}
