package ops

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ports"
)

// bind notes that host ports from first on lead to container ports.
func (p *publisher) bind(spec model.PortSpec, container model.PortRange, hosts []netip.Addr, first uint16) {
	for _, host := range hosts {
		b := model.PortBinding{Protocol: spec.Protocol, Container: container, Host: host, HostFirst: first, Endpoint: p.wayTo(host).endpoint}
		p.got = append(p.got, b)
		for upper := first >> 8; upper <= b.HostPorts().Last>>8; upper++ {
			at := shelf{b.Protocol, upper}
			p.mine[at] = append(p.mine[at], b)
		}
	}
}

// unbind forgets what was bound last, down to the first n.
func (p *publisher) unbind(n int) {
	for _, b := range slices.Backward(p.got[n:]) {
		for upper := b.HostFirst >> 8; upper <= b.HostPorts().Last>>8; upper++ {
			at := shelf{b.Protocol, upper}
			p.mine[at] = p.mine[at][:len(p.mine[at])-1]
		}
	}
	p.got = p.got[:n]
}

// own yields what was bound near r.
func (p *publisher) own(protocol model.Protocol, r model.PortRange) iter.Seq[model.PortBinding] {
	return func(yield func(model.PortBinding) bool) {
		for upper := r.First >> 8; upper <= r.Last>>8; upper++ {
			for _, b := range p.mine[shelf{protocol, upper}] {
				if !yield(b) {
					return
				}
			}
		}
	}
}

// fixed takes exactly the ports asked for. Whoever merely claims them, without
// running, gives way.
func (p *publisher) fixed(spec model.PortSpec, hosts []netip.Addr) error {
	for _, host := range hosts {
		for b := range p.own(spec.Protocol, spec.HostPorts) {
			if at, clash := clashOf(host, spec, b.Host, b.HostPorts()); clash {
				return p.refuse(host, allocated(host, at), "this container publishes it twice")
			}
		}
		for u := range p.view.PortUses(spec.Protocol, spec.HostPorts) {
			if at, clash := clashOf(host, spec, u.Addr, u.Ports); clash && u.Running && u.Sandbox != p.sb.ID {
				return p.refuse(host, allocated(host, at), p.name(u.Sandbox))
			}
		}
		for _, own := range p.facts.Host.Own {
			if at, clash := clashOf(host, spec, own.Addr(), model.Port(own.Port())); clash && spec.Protocol == model.TCP {
				return p.refuse(host, allocated(host, at), "this daemon listens there itself (--host)")
			}
		}
		for _, t := range p.facts.Taken {
			// What is said of one address says nothing of another, nor of all.
			if at, clash := clashOf(host, spec, t.Addr, t.Ports); clash && t.Protocol == spec.Protocol && t.Addr == host {
				return p.refuse(host, fmt.Errorf("failed to bind host port %s/%s: %s", netip.AddrPortFrom(host, at), spec.Protocol, t.Why), t.Who)
			}
		}
	}
	p.bind(spec, spec.Container, hosts, spec.HostPorts.First)
	return nil
}

// clashOf returns the first port of spec at host that is among others' ports.
func clashOf(host netip.Addr, spec model.PortSpec, addr netip.Addr, others model.PortRange) (uint16, bool) {
	if others.IsZero() || !spec.HostPorts.Overlaps(others) || !ports.Overlap(host, addr) {
		return 0, false
	}
	return max(spec.HostPorts.First, others.First), true
}

func allocated(host netip.Addr, port uint16) error {
	return fmt.Errorf("Bind for %s failed: port is already allocated", netip.AddrPortFrom(host, port)) //nolint:staticcheck // Docker's words
}

// free takes any ports that nobody has: for one container port among those that
// the specification names, or else of the ephemeral range. Ports that stopped
// containers claim are left to them while there are others.
func (p *publisher) free(spec model.PortSpec, hosts []netip.Addr) error {
	from := spec.HostPorts
	if from.IsZero() {
		from = ports.Ephemeral(p.facts.Host.LocalPorts)
	}
	for _, claims := range []bool{true, false} {
		for _, inARow := range []bool{true, false} {
			if p.pick(pick{spec, hosts, from, claims}, inARow) {
				return nil
			}
		}
	}
	return p.refuse(hosts[0], fmt.Errorf("all ports are allocated"), p.why(spec, hosts))
}

// pick is an attempt to find host ports for a specification.
type pick struct {
	spec   model.PortSpec
	hosts  []netip.Addr
	from   model.PortRange
	claims bool // ports that stopped containers claim count as taken
}

// pick finds and binds ports in a row or one by one, all or none.
func (p *publisher) pick(k pick, inARow bool) bool {
	if inARow {
		first, ok := p.find(k, k.spec.Container)
		if ok {
			p.bind(k.spec, k.spec.Container, k.hosts, first)
		}
		return ok
	}
	bound := len(p.got)
	for port := int(k.spec.Container.First); port <= int(k.spec.Container.Last); port++ {
		container := model.Port(uint16(port))
		first, ok := p.find(k, container)
		if !ok {
			p.unbind(bound)
			return false
		}
		p.bind(k.spec, container, k.hosts, first)
	}
	return true
}

// find looks for host ports for container ports: first where they were the last
// time, then from a place that depends on whose they are, so that containers
// do not queue up at the beginning of the range.
func (p *publisher) find(k pick, container model.PortRange) (uint16, bool) {
	wish := ports.Wish{Addrs: k.hosts, Length: container.Len(), From: k.from}
	if k.spec.HostPorts.IsZero() {
		wish.Start = k.from.First + uint16(driver.Spread(k.from.Len(), string(p.sb.ID), string(k.spec.Protocol), container.String()))
	}
	if before, had := p.before[side{k.spec.Protocol, container}]; had && k.from.Contains(before) {
		again := wish
		again.From = before
		if first, ok := ports.Find(again, p.taken(k)); ok {
			return first, true
		}
	}
	return ports.Find(wish, p.taken(k))
}

// taken returns what cannot be had: what others have, what this sandbox got
// already, what turned out to be held outside and, with k.claims, what stopped
// containers will want.
func (p *publisher) taken(k pick) ports.Table {
	spec := k.spec
	return func(r model.PortRange) iter.Seq[ports.Taken] {
		return func(yield func(ports.Taken) bool) {
			for u := range p.view.PortUses(spec.Protocol, r) {
				if u.Sandbox != p.sb.ID && (u.Running || k.claims) && !yield(ports.Taken{Addr: u.Addr, Ports: u.Ports}) {
					return
				}
			}
			for b := range p.own(spec.Protocol, r) {
				if !yield(ports.Taken{Addr: b.Host, Ports: b.HostPorts()}) {
					return
				}
			}
			for _, t := range p.outside(k) {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// outside returns what the host keeps for itself. Reserved ports are only left
// out where the user did not name any.
func (p *publisher) outside(k pick) []ports.Taken {
	var out []ports.Taken
	for _, t := range p.facts.Taken {
		if t.Protocol == k.spec.Protocol && slices.Contains(k.hosts, t.Addr) {
			out = append(out, ports.Taken{Addr: t.Addr, Ports: t.Ports})
		}
	}
	if k.spec.HostPorts.IsZero() {
		for _, r := range p.facts.Host.ReservedPorts {
			out = append(out, ports.Taken{Addr: netip.IPv4Unspecified(), Ports: r}, ports.Taken{Addr: netip.IPv6Unspecified(), Ports: r})
		}
	}
	return out
}

// why tells what stood in the way where the user had named the ports.
func (p *publisher) why(spec model.PortSpec, hosts []netip.Addr) string {
	for _, t := range p.facts.Taken {
		if _, clash := clashOf(hosts[0], spec, t.Addr, t.Ports); clash && t.Protocol == spec.Protocol && t.Addr == hosts[0] && t.Who != "" {
			return t.Who
		}
	}
	for u := range p.view.PortUses(spec.Protocol, spec.HostPorts) {
		if u.Running && u.Sandbox != p.sb.ID && !spec.HostPorts.IsZero() {
			return p.name(u.Sandbox)
		}
	}
	return ""
}

func (p *publisher) name(id model.SandboxID) string {
	sb, _ := p.view.Sandbox(id)
	if sb.Ingress != "" {
		return "a service of the swarm publishes it: docker service ls"
	}
	return fmt.Sprintf("container %s (%s)", sb.Name, model.Short(sb.Container))
}

// refuse puts Docker's words around why a port cannot be had.
func (p *publisher) refuse(host netip.Addr, err error, who string) error {
	return &model.Error{
		Op: "port.publish", Subject: "container " + p.sb.Name, Kind: model.Unfit, Who: who,
		Err: fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", p.sb.Name, p.wayTo(host).endpoint, err),
	}
}
