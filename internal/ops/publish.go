package ops

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/gateway"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ports"
	"github.com/linkspan/linkspan/internal/state"
)

// publish settles the host ports of a sandbox that is up, after anything of its
// networks changed. Ports that it had are had again wherever that is possible,
// so that a container keeps them when its default gateway moves to another
// network, and after a restart.
func publish(tx Tx, id model.SandboxID) error {
	sb, ok := tx.View().Sandbox(id)
	if !ok || !sb.Up || len(sb.Publish) == 0 && len(sb.Ports) == 0 {
		return nil
	}
	p, err := newPublisher(tx, sb)
	if err != nil {
		return err
	}
	for rest := sb.Publish; len(rest) > 0; {
		n := 1
		for n < len(rest) && ports.Together(rest[0], rest[n]) {
			n++
		}
		if err := p.settle(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	routed, err := p.routed(tx)
	if err != nil {
		return err
	}
	if !slices.Equal(p.got, sb.Ports) || !slices.Equal(routed, sb.Routed) {
		sb.Ports, sb.Routed = p.got, routed
		tx.PutSandbox(sb)
	}
	return nil
}

// way is how one family of the host's addresses leads to a sandbox.
type way struct {
	open     bool
	endpoint model.EndpointID
	routed   bool       // published ports are reached at the container's own address
	host     netip.Addr // where to publish what does not say
	policy   driver.PublishPolicy
	socket   bool // ports are served from sockets of the host
	native   bool // the container has the family itself
}

// publisher settles the ports of one sandbox.
type publisher struct {
	view      *state.Snapshot
	facts     facts.Set
	sb        model.Sandbox
	members   []gateway.Member
	four, six way
	before    map[side]model.PortRange // host ports of the last time
	got       []model.PortBinding
	mine      map[shelf][]model.PortBinding // got, to be found by host port
}

// side is container ports.
type side struct {
	protocol  model.Protocol
	container model.PortRange
}

// shelf is where bindings stand whose host ports have one upper byte.
type shelf struct {
	protocol model.Protocol
	upper    uint16
}

func newPublisher(tx Tx, sb model.Sandbox) (*publisher, error) {
	p := &publisher{
		view: tx.View(), facts: tx.Facts(), sb: sb,
		before: map[side]model.PortRange{}, mine: map[shelf][]model.PortBinding{},
	}
	for _, b := range sb.Ports {
		if b.HostFirst != 0 {
			p.before[side{b.Protocol, b.Container}] = b.HostPorts()
		}
	}
	var err error
	p.members = gateway.Members(p.view, p.facts, sb.ID)
	if p.four, p.six, err = waysOf(tx, p.members); p.facts.Host.NoIPv6 {
		p.six = way{}
	}
	return p, err
}

// waysOf returns how the host's addresses of each family lead to a container: by its
// way out in that family. IPv6 clients of a container without one come in by that of
// IPv4.
func waysOf(tx Tx, members []gateway.Member) (four, six way, err error) {
	if four, err = wayOf(tx, members, model.IPv4, model.IPv4); err != nil {
		return four, six, err
	}
	if six, err = wayOf(tx, members, model.IPv6, model.IPv6); err == nil && !six.open {
		six, err = wayOf(tx, members, model.IPv6, model.IPv4)
	}
	return four, six, err
}

// wayOf returns how host addresses of family f lead to the container's address
// of family to.
func wayOf(tx Tx, members []gateway.Member, f, to model.Family) (way, error) {
	m, _, ok := gateway.Of(members, to)
	p, publishes := tx.Drivers.Publisher(m.Network)
	if !ok || !publishes {
		return way{}, nil
	}
	o, err := p.Publishing(m.Network)
	return way{open: true, endpoint: m.Endpoint.ID, routed: o.Routed(f), host: o.Host, policy: o.Policy, socket: o.Socket, native: f == to}, err
}

// settle chooses host ports for specifications that differ only in the host's
// address: the same ports on all of them.
func (p *publisher) settle(specs []model.PortSpec) error {
	var hosts []netip.Addr
	for _, spec := range specs {
		for _, host := range p.hosts(spec) {
			w := p.wayTo(host)
			switch {
			case !w.native && (!spec.Protocol.Forwardable() || w.routed):
			case w.socket && !w.routed && !spec.Protocol.Forwardable():
				return p.refuse(host, fmt.Errorf("published %s ports cannot be served by a socket of the host: only tcp and udp", spec.Protocol),
					"the network, or the daemon, has "+driver.OptionRespect+"="+driver.RespectHost)
			case w.routed:
				p.got = append(p.got, model.PortBinding{Protocol: spec.Protocol, Container: spec.Container, Host: host, Endpoint: w.endpoint})
			case !slices.Contains(hosts, host):
				hosts = append(hosts, host)
			}
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	if specs[0].Fixed() {
		return p.fixed(specs[0], hosts)
	}
	return p.free(specs[0], hosts)
}

// hosts returns the host addresses that a specification stands for. One that
// does not say stands for its network's default, and that for both families if
// it is 0.0.0.0, as far as the network's policy goes.
func (p *publisher) hosts(spec model.PortSpec) []netip.Addr {
	var out []netip.Addr
	if p.four.open {
		switch host := spec.Host; {
		case host.Is4():
			out = append(out, host)
		case !host.IsValid() && p.four.host == netip.IPv4Unspecified():
			out = append(out, p.four.hosts(model.IPv4, p.facts.Host.Addrs)...)
		case !host.IsValid() && p.four.host.Is4():
			out = append(out, p.four.host)
		}
	}
	if p.six.open {
		switch host := spec.Host; {
		case host.Is6():
			out = append(out, host)
		case !host.IsValid() && p.six.host.IsUnspecified():
			out = append(out, p.six.hosts(model.IPv6, p.facts.Host.Addrs)...)
		case !host.IsValid() && p.six.host.Is6():
			out = append(out, p.six.host)
		}
	}
	return out
}

// hosts returns where ports are published that could be anywhere in a family, on a host
// with the addresses own. At the container's own address it makes no difference.
func (w way) hosts(f model.Family, own []netip.Addr) []netip.Addr {
	if w.routed {
		return []netip.Addr{f.Unspecified()}
	}
	return w.policy.Hosts(f, own)
}

func (p *publisher) wayTo(host netip.Addr) way {
	if host.Is4() {
		return p.four
	}
	return p.six
}
