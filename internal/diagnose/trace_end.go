package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
)

// listening says whether somebody waits at the port.
func listening(p evidence.Path, v *evidence.View, who evidence.Party) []Step {
	to, at := received(p), receivedPort(p)
	if at == 0 {
		return nil
	}
	var here, elsewhere, other []evidence.Socket
	for _, s := range v.Sockets {
		switch {
		case s.At.Port() != at:
		case s.Protocol != p.Protocol:
			other = append(other, s)
		case waitsAt(s, to):
			here = append(here, s)
		default:
			elsewhere = append(elsewhere, s)
		}
	}
	whose := inside(who)
	switch {
	case len(here) > 0:
		return []Step{queue(here, who, whose)}
	case who.Kind == evidence.TheHost && len(p.Elsewhere) > 0:
		e := p.Elsewhere[0]
		return []Step{wrong(aboutReceiver, "whoever published the port of container "+e.Container, fmt.Sprintf("publish it there too: -p %s:%d:...", shown(to), at),
			"port %d/%s of this host leads nowhere at %s: container %s publishes it at %s", at, p.Protocol, to, e.Container, list(e.At))}
	case len(elsewhere) > 0 && slices.ContainsFunc(elsewhere, func(s evidence.Socket) bool { return s.At.Addr().Unmap().IsLoopback() }):
		return []Step{wrong(aboutReceiver, whose, fmt.Sprintf("have it listen at 0.0.0.0 or [::]%s", insteadOf(elsewhere)),
			"in %s port %d/%s is waited at by %s alone: only what is inside gets there", partyText(who), at, p.Protocol, sockets(elsewhere))}
	case len(elsewhere) > 0:
		return []Step{wrong(aboutReceiver, whose, fmt.Sprintf("have it listen at %s too", to),
			"in %s port %d/%s is waited at by %s, not at %s", partyText(who), at, p.Protocol, sockets(elsewhere), to)}
	case len(other) > 0:
		return []Step{wrong(aboutReceiver, whose, "ask by "+string(other[0].Protocol),
			"in %s nobody waits at port %d/%s; it is waited at by %s", partyText(who), at, p.Protocol, sockets(other))}
	}
	return []Step{wrong(aboutReceiver, whose, nobody(who), "in %s nobody waits at port %d/%s", partyText(who), at, p.Protocol)}
}

// shown is an address as -p takes it.
func shown(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// nobody is what can be done where nobody listens.
func nobody(who evidence.Party) string {
	if who.Kind == evidence.TheHost {
		return "publish the port (docker run -p), or start the program"
	}
	return "docker logs " + who.Name
}

// insteadOf names the one address that is listened at.
func insteadOf(sockets []evidence.Socket) string {
	return ", not at " + sockets[0].At.Addr().String()
}

// waitsAt tells whether a socket gets what comes for an address.
func waitsAt(s evidence.Socket, to netip.Addr) bool {
	a := s.At.Addr()
	switch {
	case a == netip.IPv6Unspecified():
		return true // and IPv4, as a rule
	case a.Unmap().IsUnspecified():
		return to.Is4()
	}
	return a.Unmap() == to.Unmap()
}

// queue says whether a program takes its connections.
func queue(here []evidence.Socket, who evidence.Party, whose string) Step {
	for _, s := range here {
		if s.Waiting == 0 || s.Waiting <= s.Backlog {
			return ok(aboutReceiver, "%s waits there", socketText(s))
		}
	}
	s := here[0] // a client believes that it is connected before the other side has room for it
	return wrong(aboutReceiver, whose, "it hangs, or is overloaded: docker top "+who.Name,
		"%s in %s does not take its connections: %d wait for it, and more are dropped", socketText(s), partyText(who), s.Waiting).standing()
}

func sockets(all []evidence.Socket) string {
	var out []string
	for _, s := range all {
		out = append(out, socketText(s))
	}
	return strings.Join(out, ", ")
}

func socketText(s evidence.Socket) string {
	text := fmt.Sprintf("%s/%s", s.At, s.Protocol)
	if s.Who != "" {
		return s.Who + ", at " + text
	}
	return text
}

// packetSize says whether large packets pass where small ones do: those that are larger
// than the next interface on the same link are dropped without a word.
func packetSize(p evidence.Path) []Step {
	if p.Host == nil {
		return nil
	}
	for _, end := range []struct {
		who  evidence.Party
		view *evidence.View
	}{{p.From, p.Sender}, {p.Gets(), p.Receiver}} {
		if end.view == nil || end.who.Kind != evidence.Container {
			continue
		}
		if s := tooLarge(end.who, end.view, p.Host); s != nil {
			return []Step{s.standing()}
		}
	}
	if s := differ(p); s != nil {
		return []Step{s.standing()}
	}
	return nil
}

// tooLarge is an interface that sends more than its other end takes; nil: none does.
func tooLarge(who evidence.Party, v, host *evidence.View) *Step {
	for _, m := range who.Networks {
		l, inside := v.Link(m.Interface)
		h, outside := host.Link(m.Port)
		b, bridge := host.Link(m.Bridge)
		if !inside || !outside || !bridge {
			continue
		}
		// By the kernel's rules for veth pairs and bridges (is_skb_forwardable, br_dev_queue_push_xmit).
		switch {
		case l.MTU > h.MTU:
			return size(who, m, l.MTU, h.MTU, fmt.Sprintf("the host's end, %s, takes %d", m.Port, h.MTU))
		case h.MTU > l.MTU && b.MTU > l.MTU:
			return size(who, m, h.MTU, l.MTU, fmt.Sprintf("bridge %s sends %d, and %s in %s takes %d", m.Bridge, b.MTU, m.Interface, partyText(who), l.MTU))
		case l.MTU > b.MTU:
			return size(who, m, l.MTU, b.MTU, fmt.Sprintf("bridge %s takes %d", m.Bridge, b.MTU))
		}
	}
	return nil
}

func size(who evidence.Party, m evidence.Membership, large, small int, why string) *Step {
	s := wrong(aboutSize, inside(who), fmt.Sprintf("give both ends one MTU: ip link set %s mtu %d, inside and for %s on the host", m.Interface, small, m.Port),
		"packets of more than %d bytes vanish without a word on network %s: %s of %s has an MTU of %d, %s", small, m.Network, m.Interface, partyText(who), max(large, small), why)
	if large > small && strings.HasPrefix(why, "bridge") && strings.Contains(why, "sends") {
		s.Text = fmt.Sprintf("packets of more than %d bytes vanish without a word on network %s: %s", small, m.Network, why)
	}
	return &s
}

// differ is two neighbours on one network whose MTUs differ; nil: there are none.
func differ(p evidence.Path) *Step {
	if p.Sender == nil || p.Receiver == nil || p.Meet == "" {
		return nil
	}
	a, b := mtuOn(p.From, p.Sender, p.Meet), mtuOn(p.Gets(), p.Receiver, p.Meet)
	if a == 0 || b == 0 || a == b {
		return nil
	}
	s := wrong(aboutSize, "whoever set them", "give both the MTU of the network",
		"packets of more than %d bytes vanish without a word on network %s: %s has an MTU of %d there, %s of %d", min(a, b), p.Meet, partyText(p.From), a, partyText(p.Gets()), b)
	return &s
}

func mtuOn(who evidence.Party, v *evidence.View, network string) int {
	for _, m := range who.Networks {
		if l, ok := v.Link(m.Interface); ok && m.Network == network {
			return l.MTU
		}
	}
	return 0
}
