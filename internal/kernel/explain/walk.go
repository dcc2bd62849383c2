package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// walk is one packet on its way.
type walk struct {
	rules    *trace.Ruleset
	iptables IPTables
	host     *host
	known    known
	// bridgeNetfilter is bridge-nf-call-iptables and bridge-nf-call-ip6tables.
	bridgeNetfilter [2]bool

	packet *trace.Packet
	nat    [2]bool // its destination, its source was translated
	ended  bool
	// mayDrop and doubt say that a rule that may match would drop it, or do something
	// else with it.
	mayDrop, doubt bool
	out            facts.Trace
}

// run follows the packet to its end.
func (w *walk) run(p facts.TracePacket) error {
	if p.From.IsValid() && p.From.Is4() != p.To.Addr().Is4() {
		return errFamilies
	}
	w.out.To, w.out.From = p.To, p.From
	_, isHost := w.host.addrs[p.From]
	port, isContainer := w.known.port(p.From)
	switch {
	case !p.From.IsValid(), isHost, p.From.IsLoopback():
		w.fromHost(p)
	case isContainer:
		w.fromContainer(p, port)
	default:
		w.fromOutside(p)
	}
	w.conclude()
	return nil
}

// conclude says what became of the packet, as far as that can be told.
func (w *walk) conclude() {
	switch {
	case w.out.Outcome == "":
		if w.out.Outcome = facts.OutcomeAccepted; w.mayDrop || w.doubt {
			w.out.Outcome = facts.OutcomeUnknown
		}
	case w.doubt:
		w.out.Outcome = facts.OutcomeUnknown
	}
}

// fromHost is the way of a packet that a program of the host sends.
func (w *walk) fromHost(p facts.TracePacket) {
	to, err := w.host.route(p.From, p.To.Addr(), "")
	if err != nil {
		w.unreachable(err)
		return
	}
	from := p.From
	if !from.IsValid() {
		from = to.from
	}
	if !from.IsValid() {
		from = p.To.Addr() // its own, through lo
	}
	w.out.From = from
	w.packet = &trace.Packet{Frame: frame(p, from, "", ""), Out: w.outLink(to), Host: w.host}
	if w.hook("output", unix.NF_INET_LOCAL_OUT); w.ended {
		return
	}
	if _, local := w.host.addrs[w.packet.Destination()]; local || w.packet.Destination().IsLoopback() {
		w.hook("postrouting", unix.NF_INET_POST_ROUTING)
		w.nat = [2]bool{true, true} // its connection is known by now
		w.packet.In, w.packet.Out = w.host.link("lo"), trace.Link{}
		w.hook("prerouting", unix.NF_INET_PRE_ROUTING)
		w.hook("input", unix.NF_INET_LOCAL_IN)
		return
	}
	w.leave()
}

// outLink is the link that a packet of the host's own leaves by.
func (w *walk) outLink(to way) trace.Link {
	if to.local {
		return w.host.link("lo")
	}
	return w.host.link(to.link)
}

// fromContainer is the way of a packet that comes in by a port of a bridge of ours.
func (w *walk) fromContainer(p facts.TracePacket, port desired.PortSecurity) {
	w.out.In = port.Port
	bridge := w.host.links[port.Bridge]
	to, isNeighbour := w.known.port(p.To.Addr())
	isNeighbour = isNeighbour && to.Bridge == port.Bridge
	dst := to.MAC
	if !isNeighbour && bridge != nil {
		dst = bridge.Attrs().HardwareAddr.String()
	}
	w.packet = &trace.Packet{Frame: frame(p, p.From, dst, port.MAC), In: w.host.link(port.Port), Host: w.host}
	w.bridge("bridge prerouting", unix.NF_INET_PRE_ROUTING)
	if isNeighbour {
		w.toNeighbour(port, to)
		return
	}
	w.bridge("bridge input", unix.NF_INET_LOCAL_IN)
	w.packet.In = w.host.link(port.Bridge)
	w.routed()
}

// toNeighbour is the way over the bridge. Where br_netfilter is on, hooks of IP see the frame
// as well, as if the bridge were both ways (net/bridge/br_netfilter_hooks.c).
func (w *walk) toNeighbour(from, to desired.PortSecurity) {
	asIP := func(name string, hook uint32, in, out string) {
		if !w.filtersBridges() {
			return
		}
		ports := [2]trace.Link{w.packet.In, w.packet.Out}
		w.packet.In, w.packet.Out = w.host.link(in), w.host.link(out)
		w.hook(name+" (br_netfilter)", hook)
		w.packet.In, w.packet.Out = ports[0], ports[1]
	}
	asIP("prerouting", unix.NF_INET_PRE_ROUTING, from.Bridge, "")
	if w.nat[0] {
		w.doubt = true
		w.step(facts.TraceStep{Hook: "routing", Verdict: "translated on its way over the bridge", Doubt: "where the bridge sends it then is not followed"})
		return
	}
	w.packet.Out = w.host.link(to.Port)
	w.bridge("bridge forward", unix.NF_INET_FORWARD)
	asIP("forward", unix.NF_INET_FORWARD, from.Bridge, from.Bridge)
	w.bridge("bridge postrouting", unix.NF_INET_POST_ROUTING)
	asIP("postrouting", unix.NF_INET_POST_ROUTING, "", from.Bridge)
	w.out.Out = to.Port
}

// filtersBridges tells whether br_netfilter shows bridged packets to the hooks of IP.
func (w *walk) filtersBridges() bool {
	if w.packet.Destination().Is6() {
		return w.bridgeNetfilter[1]
	}
	return w.bridgeNetfilter[0]
}

// fromOutside is the way of a packet from another machine. It comes in where answers to it
// would leave.
func (w *walk) fromOutside(p facts.TracePacket) {
	back, err := w.host.route(netip.Addr{}, p.From, "")
	if err != nil {
		w.unreachable(fmt.Errorf("there is no way back to %s: %w", p.From, err))
		return
	}
	w.out.In = back.link
	w.packet = &trace.Packet{Frame: frame(p, p.From, "", ""), In: w.host.link(back.link), Host: w.host}
	if w.known.bridges[back.link] {
		w.doubt = true
		w.step(facts.TraceStep{Hook: "bridge prerouting", Verdict: "drop", Ours: true,
			Doubt: "no container has the address " + p.From.String() + " on " + back.link + ": of a container, port security would drop it"})
	}
	w.routed()
}

// routed is the way through the hooks of IP, from an interface on.
func (w *walk) routed() {
	if w.hook("prerouting", unix.NF_INET_PRE_ROUTING); w.ended {
		return
	}
	to, err := w.host.route(w.packet.Source(), w.packet.Destination(), w.packet.In.Name)
	switch {
	case err != nil:
		w.unreachable(err)
	case to.local:
		w.step(facts.TraceStep{Hook: "routing", Verdict: "for this host"})
		w.hook("input", unix.NF_INET_LOCAL_IN)
	default:
		w.packet.Out = w.host.link(to.link)
		w.step(facts.TraceStep{Hook: "routing", Verdict: "leaves by " + to.link})
		if w.hook("forward", unix.NF_INET_FORWARD); !w.ended {
			w.leave()
		}
	}
}

// leave is the last part of the way, out of an interface.
func (w *walk) leave() {
	if w.hook("postrouting", unix.NF_INET_POST_ROUTING); w.ended {
		return
	}
	w.out.Out = w.packet.Out.Name
	to, ok := w.known.port(w.packet.Destination())
	if !ok || to.Bridge != w.packet.Out.Name {
		return
	}
	in := w.packet.In
	w.packet.In, w.packet.Out = trace.Link{}, w.host.link(to.Port)
	w.bridge("bridge output", unix.NF_INET_LOCAL_OUT)
	w.bridge("bridge postrouting", unix.NF_INET_POST_ROUTING)
	w.packet.In, w.out.Out = in, to.Port
}

func (w *walk) step(s facts.TraceStep) { w.out.Steps = append(w.out.Steps, s) }

// unreachable ends the way: routing will not have the packet.
func (w *walk) unreachable(err error) {
	w.ended, w.out.Outcome = true, facts.OutcomeUnreachable
	w.step(facts.TraceStep{Hook: "routing", Verdict: "no way: " + err.Error(), Decides: true,
		WayOut: "See the routes, reverse path filtering (rp_filter) and forwarding (ip_forward) of the interface: ip route get ADDRESS from SENDER iif INTERFACE."})
}

// translate gives the packet another destination; one of the host's own is routed anew.
func (w *walk) translate(r answer, hook uint32) {
	to := r.to
	if r.verdict == trace.Redirect {
		to = netip.AddrPortFrom(w.redirected(), to.Port())
	}
	w.nat[0] = true
	if w.packet.Original == nil {
		w.packet.Original = w.packet.Frame
	}
	w.packet.Frame = readdressed(w.packet.Frame, to)
	port := w.out.To.Port()
	if to.Port() != 0 {
		port = to.Port()
	}
	w.out.To = netip.AddrPortFrom(w.packet.Destination(), port)
	if hook != unix.NF_INET_LOCAL_OUT {
		return
	}
	way, err := w.host.route(netip.Addr{}, w.packet.Destination(), "")
	if err != nil {
		w.unreachable(err)
		return
	}
	w.packet.Out = w.outLink(way)
	w.step(facts.TraceStep{Hook: "routing", Verdict: "leaves by " + w.packet.Out.Name})
}

// redirected is the host's own address where a packet is redirected to.
func (w *walk) redirected() netip.Addr {
	six := w.packet.Destination().Is6()
	if w.packet.In.Name == "" {
		if six {
			return netip.IPv6Loopback()
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	var found []netip.Addr
	for a, link := range w.host.addrs {
		if link == w.packet.In.Name && a.Is6() == six {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b netip.Addr) int { return strings.Compare(a.String(), b.String()) })
	if len(found) == 0 {
		return w.packet.Destination()
	}
	return found[0]
}
