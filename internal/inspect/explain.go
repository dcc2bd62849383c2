package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Explainer follows a packet through the rules of the host.
type Explainer interface {
	Explain(ctx context.Context, p facts.TracePacket, policies []desired.Row) (facts.Trace, error)
}

// Question is what a user asks of the firewall, as the words come.
type Question struct {
	// Target is a host port ("8080", "53/udp") or a container with or without a port
	// ("web", "web:80", "web:53/udp"), or any address ("192.0.2.1:80", "[2001:db8::1]:53/udp").
	Target string
	// From is who sends: an address, "localhost", a container. Empty: another machine.
	From string
	// To is the address of the host that a port is asked for at; empty: one where it is
	// published.
	To string
}

// Explanation is the way of a packet, and whose rules were on it.
type Explanation struct {
	facts.Trace
	Sender, Receiver string // in words; empty if nothing is known of them
	// For says for each step who asked for the rule, in order of facts.Trace.Steps.
	For []string
}

// Explain answers a question. Errors: Invalid if it makes no sense, NotFound if there is no
// such container, and the kernel's.
func (r *Reader) Explain(ctx context.Context, q Question) (Explanation, error) {
	if r.o.Explainer == nil {
		return Explanation{}, model.Errorf(model.NotImplemented, "nothing reads the rules of this host")
	}
	ctx, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	s, plan := r.o.Engine.Snapshot(), r.o.Engine.Plan()
	p, err := r.packet(ctx, s, plan, q)
	if err != nil {
		return Explanation{}, err
	}
	var rows []desired.Row
	for o := range plan.Kind(desired.KindPolicy) {
		rows = append(rows, o.Row)
	}
	t, err := r.o.Explainer.Explain(ctx, p, rows)
	if err != nil {
		return Explanation{}, err
	}
	e := Explanation{Trace: t, Sender: holder(s, p.From), Receiver: holder(s, t.To.Addr())}
	if t.Outcome == facts.OutcomeAccepted && t.Out == "" {
		e.Receiver = proxied(s, plan, t)
	}
	for _, step := range t.Steps {
		e.For = append(e.For, askers(s, plan, step.Rows))
	}
	return e, nil
}

// askers says who asked for rows.
func askers(s *state.Snapshot, plan desired.State, rows []string) string {
	var out []string
	for _, name := range rows {
		if o, ok := plan.Get(desired.Key{Kind: desired.KindPolicy, Name: name}); ok {
			if who := asker(s, o.Owner).String(); !slices.Contains(out, who) {
				out = append(out, who)
			}
		}
	}
	return strings.Join(out, ", ")
}

// holder is the container that has an address; empty if none runs with it.
func holder(s *state.Snapshot, a netip.Addr) string {
	for e := range s.Endpoints() {
		if a.IsValid() && e.Up && (e.Addr4 == a || e.Addr6 == a) {
			sb, _ := s.Sandbox(e.Sandbox)
			n, _ := s.Network(e.Network)
			return fmt.Sprintf("container %s on network %s", sb.Name, n.Name)
		}
	}
	return ""
}

// proxied is where a port of the host's own leads to: the user-space proxy and its
// container, or the host itself; empty if nothing is known of the port.
func proxied(s *state.Snapshot, plan desired.State, t facts.Trace) string {
	for o := range plan.Kind(desired.KindForward) {
		f, ok := o.Row.(desired.Forward)
		port, host := t.To.Port(), t.To.Addr()
		if !ok || f.Protocol != t.Packet.Protocol || port < f.First || port > f.Last || f.Host != host && (!f.Host.IsUnspecified() || f.Host.Is4() != host.Is4()) {
			continue
		}
		if f.Rest && host.Is6() && !host.IsLoopback() && !host.IsLinkLocalUnicast() {
			continue
		}
		to := netip.AddrPortFrom(f.To, f.ToFirst+(port-f.First))
		return fmt.Sprintf("the user-space proxy, which leads to %s (%s)", to, holder(s, f.To))
	}
	return elsewhere(plan, t)
}

// elsewhere is the host itself, with the addresses where a container has that port; empty if
// none has it anywhere.
func elsewhere(plan desired.State, t facts.Trace) string {
	var at []string
	for o := range plan.Kind(desired.KindPolicy) {
		p, ok := o.Row.(desired.Publish)
		if ok && p.Protocol == t.Packet.Protocol && p.First <= t.To.Port() && t.To.Port() <= p.Last {
			at = append(at, p.Host.String())
		}
	}
	if len(at) == 0 {
		return ""
	}
	return fmt.Sprintf("the host itself, since no container has the port at this address: it is published at %s", strings.Join(at, ", "))
}

// target is what a question is about.
type target struct {
	container string // empty for a port of the host
	addr      netip.Addr
	port      uint16 // 0: none was named
	protocol  model.Protocol
}

// readTarget understands "8080", "53/udp", "web", "web:80", "web:53/udp", and addresses in
// the place of "web".
func readTarget(text string) (t target, err error) {
	rest, protocol, named := strings.Cut(text, "/")
	t.protocol = model.TCP
	if named {
		if t.protocol = model.Protocol(strings.ToLower(protocol)); t.protocol.Number() == 0 {
			return target{}, model.Errorf(model.Invalid, "invalid protocol: %q: tcp, udp and sctp have ports", protocol)
		}
	}
	if at, err := netip.ParseAddrPort(rest); err == nil && at.Port() != 0 {
		return target{addr: at.Addr().Unmap(), port: at.Port(), protocol: t.protocol}, nil
	}
	if a, err := netip.ParseAddr(rest); err == nil {
		if named {
			return target{}, model.Errorf(model.Invalid, "invalid target: %q: protocol %s needs a port", text, t.protocol)
		}
		return target{addr: a.Unmap()}, nil // an echo request
	}
	name, port, hasPort := strings.Cut(rest, ":")
	if number, err := strconv.ParseUint(rest, 10, 16); err == nil && number > 0 {
		return target{port: uint16(number), protocol: t.protocol}, nil
	}
	if t.container = name; name == "" {
		return target{}, model.Errorf(model.Invalid, "invalid target: %q: want a host port, or a container with or without a port", text)
	}
	if hasPort {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return target{}, model.Errorf(model.Invalid, "invalid port: %q", port)
		}
		t.port = uint16(number)
	}
	return t, nil
}

// packet is the first one of the connection that a question is about.
func (r *Reader) packet(ctx context.Context, s *state.Snapshot, plan desired.State, q Question) (facts.TracePacket, error) {
	t, err := readTarget(q.Target)
	if err != nil {
		return facts.TracePacket{}, err
	}
	from, err := r.senders(ctx, s, q.From)
	if err != nil {
		return facts.TracePacket{}, err
	}
	if t.container != "" {
		return r.toContainer(ctx, s, plan, t, from)
	}
	if t.addr.IsValid() {
		q.To = t.addr.String()
	}
	return toPort(plan, t, from, q.To)
}

// sender is who sends: one of some addresses, the host itself, or another machine.
type sender struct {
	addrs     []netip.Addr
	localhost bool
	outside   bool
}

func (r *Reader) senders(ctx context.Context, s *state.Snapshot, text string) (sender, error) {
	switch text {
	case "":
		return sender{outside: true}, nil
	case "localhost", "host":
		return sender{localhost: true}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return sender{addrs: []netip.Addr{a}, localhost: a.IsLoopback()}, nil
	}
	sb, err := r.sandbox(ctx, s, text)
	if err != nil {
		return sender{}, err
	}
	addrs := addresses(s, sb.ID)
	if len(addrs) == 0 {
		return sender{}, model.Errorf(model.Conflict, "container %s has no address: it does not run, or is on no network", text)
	}
	return sender{addrs: addrs}, nil
}

// addresses are those of a container, in the order of its endpoints.
func addresses(s *state.Snapshot, id model.SandboxID) (out []netip.Addr) {
	for _, e := range s.EndpointsInOrder(id) {
		for _, a := range []netip.Addr{e.Addr4, e.Addr6} {
			if e.Up && a.IsValid() {
				out = append(out, a)
			}
		}
	}
	return out
}

// as is the sender's address of the family of another; neighbours of that come first.
// Invalid: the host itself, or nobody.
func (f sender) as(to netip.Addr, plan desired.State) netip.Addr {
	if f.outside {
		return outsideOf(plan, to.Is4())
	}
	for _, a := range f.addrs {
		if a.Is4() == to.Is4() && neighbours(plan, a, to) {
			return a
		}
	}
	for _, a := range f.addrs {
		if a.Is4() == to.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// uplinks are the addresses by which other machines know the host.
func uplinks(plan desired.State) []netip.Addr {
	o, _ := plan.Get(desired.Identity{}.Key())
	identity, _ := o.Row.(desired.Identity)
	return identity.Addrs
}

// outsideOf is an address of some other machine: the one behind the host's own, or before.
func outsideOf(plan desired.State, four bool) netip.Addr {
	all := uplinks(plan)
	for _, a := range all {
		if a.Is4() != four || a.IsLinkLocalUnicast() {
			continue
		}
		if next := a.Next(); !slices.Contains(all, next) {
			return next
		}
		return a.Prev()
	}
	return netip.Addr{}
}

// toPort asks for a port of the host.
func toPort(plan desired.State, t target, from sender, to string) (facts.TracePacket, error) {
	var host netip.Addr
	switch {
	case to != "":
		a, err := netip.ParseAddr(to)
		if err != nil {
			return facts.TracePacket{}, model.Errorf(model.Invalid, "invalid address: %q", to)
		}
		host = a.Unmap()
	case from.localhost && (len(from.addrs) == 0 || from.addrs[0].Is4()):
		host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case from.localhost:
		host = netip.IPv6Loopback()
	default:
		host = publishedAt(plan, t, from)
	}
	if !host.IsValid() {
		return facts.TracePacket{}, model.Errorf(model.Invalid, "the host has no address that other machines know: say which with --to")
	}
	p := facts.TracePacket{From: from.as(host, plan), To: netip.AddrPortFrom(host, t.port), Protocol: t.protocol}
	if !p.From.IsValid() && !from.localhost {
		return facts.TracePacket{}, model.Errorf(model.Invalid, "the sender has no address of the family of %s", host)
	}
	if from.localhost && len(from.addrs) == 0 {
		p.From = netip.Addr{}
	}
	return p, nil
}

// publishedAt is the address of the host that a port is asked for at: where it is
// published, else any that the sender can know.
func publishedAt(plan desired.State, t target, from sender) netip.Addr {
	family := func(a netip.Addr) bool {
		return from.outside || slices.ContainsFunc(from.addrs, func(f netip.Addr) bool { return f.Is4() == a.Is4() })
	}
	for o := range plan.Kind(desired.KindPolicy) {
		r, ok := o.Row.(desired.Publish)
		if ok && r.Protocol == t.protocol && r.First <= t.port && t.port <= r.Last && !r.Host.IsUnspecified() && !r.Host.IsLoopback() && family(r.Host) {
			return r.Host
		}
	}
	for _, a := range uplinks(plan) {
		if family(a) && !a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// toContainer asks for a container at its own address: where the sender is a neighbour, if
// it is one anywhere.
func (r *Reader) toContainer(ctx context.Context, s *state.Snapshot, plan desired.State, t target, from sender) (facts.TracePacket, error) {
	sb, err := r.sandbox(ctx, s, t.container)
	if err != nil {
		return facts.TracePacket{}, err
	}
	addrs := addresses(s, sb.ID)
	if len(addrs) == 0 {
		return facts.TracePacket{}, model.Errorf(model.Conflict, "container %s has no address: it does not run, or is on no network", t.container)
	}
	p := facts.TracePacket{Protocol: t.protocol}
	if t.port == 0 {
		t.port, p.Protocol = firstPort(sb)
	}
	for _, to := range addrs {
		as := from.as(to, plan)
		if !as.IsValid() && !from.localhost {
			continue
		}
		near := neighbours(plan, as, to)
		if !p.To.IsValid() || near {
			p.From, p.To = as, netip.AddrPortFrom(to, t.port)
		}
		if near {
			break
		}
	}
	if !p.To.IsValid() {
		return facts.TracePacket{}, model.Errorf(model.Invalid, "the sender and container %s have no addresses of one family", t.container)
	}
	return p, nil
}

// firstPort is the first one that a container publishes; none, for a ping, if there is none.
func firstPort(sb model.Sandbox) (uint16, model.Protocol) {
	if len(sb.Publish) == 0 {
		return 0, ""
	}
	return sb.Publish[0].Container.First, sb.Publish[0].Protocol
}

// neighbours tells whether two addresses are of containers on one bridge.
func neighbours(plan desired.State, a, b netip.Addr) bool {
	bridge := func(of netip.Addr) string {
		for o := range plan.Kind(desired.KindPolicy) {
			if m, ok := o.Row.(desired.PortSecurity); ok && slices.Contains(m.Addrs, of) {
				return m.Bridge
			}
		}
		return ""
	}
	at := bridge(a)
	return at != "" && at == bridge(b)
}
