package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/facts"
)

// repair is what mends what somebody has changed.
const repair = "linkspan network repair, or restart the container"

// sender says whether the packet leaves the sender.
func sender(p evidence.Path) []Step {
	v := p.Sender
	if v == nil || p.Probe.Result == evidence.ProbeConnected && v.Route.Local {
		return nil
	}
	if m, outside := p.From, p.To.Kind == evidence.Outside; onlyInternal(m) && outside {
		return []Step{wrong(aboutSender, "whoever chose the networks", "docker network connect NETWORK "+m.Name,
			"all networks of container %s are internal (%s): nothing leads outside", m.Name, networksOf(m))}
	}
	if s := own(p.From, v, aboutSender, p.Target.Is6()); s != nil {
		return s
	}
	if v.Route.Err != "" {
		return []Step{noRoute(p.From, aboutSender, p.Target, v.Route)}
	}
	if s := ownRules(p.From, v, aboutSender, "what leaves"); s != nil {
		return s
	}
	via := ""
	if v.Route.Hop.IsValid() && v.Route.Hop != p.Target {
		via = " via " + v.Route.Hop.String()
	}
	return []Step{ok(aboutSender, "%s sends it by %s%s", partyText(p.From), v.Route.Link, via)}
}

// own says what somebody has changed of a container's own interfaces; nil: nothing.
func own(who evidence.Party, v *evidence.View, about string, six bool) []Step {
	for _, m := range who.Networks {
		l, there := v.Link(m.Interface)
		switch {
		case !m.Up || m.Interface == "":
		case !there:
			return []Step{wrong(about, inside(who), repair, "%s has lost its interface %s on network %s", partyText(who), m.Interface, m.Network)}
		case !l.Up:
			return []Step{wrong(about, inside(who), "ip link set "+m.Interface+" up, inside; or restart the container", "%s of %s is down", m.Interface, partyText(who))}
		}
		for _, a := range m.Addrs {
			if _, has := v.AddrsOn[a]; has || !there || a.Is6() != six {
				continue
			}
			if a.Is6() && v.Settings["net/ipv6/conf/"+m.Interface+"/disable_ipv6"] == "1" {
				return []Step{wrong(about, inside(who), "sysctl -w net.ipv6.conf."+m.Interface+".disable_ipv6=0, inside; then "+repair, "IPv6 is switched off on %s of %s", m.Interface, partyText(who))}
			}
			return []Step{wrong(about, inside(who), repair, "%s of %s has lost its address %s", m.Interface, partyText(who), a)}
		}
	}
	return nil
}

func noRoute(who evidence.Party, about string, to netip.Addr, r evidence.Route) Step {
	way := "ip route, there"
	if who.Kind == evidence.Container {
		way = repair
	}
	return wrong(about, inside(who), way, "%s has no route to %s: %s", partyText(who), to, r.Err)
}

// ownRules says whether rules in a party's own namespace drop it; nil: none does. Those of
// the host are the firewall's.
func ownRules(who evidence.Party, v *evidence.View, about, what string) []Step {
	switch facts.Outcome(v.Rules.Outcome) {
	case facts.OutcomeDropped, facts.OutcomeRejected:
		if who.Kind == evidence.Container {
			return []Step{wrong(about, inside(who), "see nft list ruleset, or iptables-save, inside", "%s inside %s %s %s", v.Rules.Decides, partyText(who), verb(v.Rules.Outcome), what)}
		}
	}
	return nil
}

// verb is what a rule does.
func verb(outcome string) string {
	if facts.Outcome(outcome) == facts.OutcomeRejected {
		return "rejects"
	}
	return "drops"
}

// hostPorts says whether the host's ends of containers' interfaces are as they should be.
func hostPorts(p evidence.Path) []Step {
	if p.Host == nil {
		return nil
	}
	seen := false
	for _, who := range []evidence.Party{p.From, p.Gets()} {
		for _, m := range who.Networks {
			if m.Port == "" || !m.Up {
				continue
			}
			seen = true
			if s := port(p.Host, who, m); s != nil {
				return []Step{*s}
			}
		}
	}
	if !seen {
		return nil
	}
	return []Step{ok(aboutPorts, "bridges and their ports are up")}
}

func port(host *evidence.View, who evidence.Party, m evidence.Membership) *Step {
	const whose = theAdministrator
	l, there := host.Link(m.Port)
	b, bridge := host.Link(m.Bridge)
	var s Step
	switch {
	case !bridge:
		s = wrong(aboutPorts, whose, "linkspan network repair", "bridge %s of network %s is gone", m.Bridge, m.Network)
	case !there:
		s = wrong(aboutPorts, whose, "docker restart "+who.Name, "the host's end of %s of %s, %s, is gone", m.Interface, partyText(who), m.Port)
	case !b.Up:
		s = wrong(aboutPorts, whose, "ip link set "+m.Bridge+" up", "bridge %s of network %s is down", m.Bridge, m.Network)
	case !l.Up:
		s = wrong(aboutPorts, whose, "ip link set "+m.Port+" up", "the host's end of %s of %s, %s, is down", m.Interface, partyText(who), m.Port)
	case l.Master != m.Bridge:
		s = wrong(aboutPorts, whose, "linkspan network repair", "the host's end of %s of %s, %s, is not on bridge %s", m.Interface, partyText(who), m.Port, m.Bridge)
	default:
		return nil
	}
	return &s
}

// neighbour says whether the next hop is found at the link layer, and is who it should be.
func neighbour(p evidence.Path) []Step {
	v := p.Sender
	if v == nil || v.Route.Local || !v.Hop.Addr.IsValid() || p.From.Kind != evidence.Container {
		return nil
	}
	if mac, whose := expected(p, v.Hop.Addr); mac != "" && v.Hop.MAC != "" && !strings.EqualFold(v.Hop.MAC, mac) {
		return []Step{impostor(p, mac, whose)}
	}
	if !v.Hop.Unanswered() {
		if v.Hop.State == "" {
			return nil
		}
		return []Step{ok(aboutHop, "%s is at %s", v.Hop.Addr, v.Hop.MAC)}
	}
	return []Step{silentHop(p)}
}

// expected is the MAC address that a neighbour should have, and whose that is.
func expected(p evidence.Path, hop netip.Addr) (mac, whose string) {
	for _, m := range p.Gets().Networks {
		if slices.Contains(m.Addrs, hop) {
			return m.MAC, partyText(p.Gets())
		}
	}
	for _, m := range p.From.Networks {
		if !slices.Contains(m.Gateways, hop) || p.Host == nil {
			continue
		}
		if b, ok := p.Host.Link(m.Bridge); ok && p.Host.AddrsOn[hop] == m.Bridge {
			return b.MAC, "bridge " + m.Bridge
		}
	}
	return "", ""
}

func impostor(p evidence.Path, mac, whose string) Step {
	hop := p.Sender.Hop
	if hop.State == "permanent" {
		return wrong(aboutHop, inside(p.From), fmt.Sprintf("ip neigh del %s dev %s, inside", hop.Addr, p.Sender.Route.Link),
			"%s has a fixed neighbour entry that says %s is at %s, but %s is at %s", partyText(p.From), hop.Addr, hop.MAC, whose, mac)
	}
	return wrong(aboutHop, "whoever has "+hop.MAC, "bridge fdb | grep -i "+hop.MAC,
		"somebody else, %s, answers for %s: %s is at %s", hop.MAC, hop.Addr, whose, mac)
}

// silentHop says why a neighbour does not answer, where that is known.
func silentHop(p evidence.Path) Step {
	hop := p.Sender.Hop.Addr
	who := p.Gets()
	if !slices.Contains(addresses(who), hop) || p.Receiver == nil {
		return wrong(aboutHop, theAdministrator, "linkspan network repair", "%s does not answer %s when it asks for its MAC address", hop, partyText(p.From))
	}
	if s := own(who, p.Receiver, aboutHop, hop.Is6()); s != nil {
		return s[0]
	}
	name := p.Receiver.AddrsOn[hop]
	if l, ok := p.Receiver.Link(name); ok && l.NoARP {
		return wrong(aboutHop, inside(who), "ip link set "+name+" arp on, inside", "%s does not answer ARP: ARP is switched off on %s of it", partyText(who), name)
	}
	for _, at := range []string{"all", name} {
		path := "net/ipv4/conf/" + at + "/arp_ignore"
		if value := p.Receiver.Settings[path]; value == "8" {
			return wrong(aboutHop, inside(who), "sysctl -w "+dotted(path)+"=0, inside", "%s does not answer ARP: %s is %s there", partyText(who), dotted(path), value)
		}
	}
	return wrong(aboutHop, "", "arp filters: nft list ruleset, arptables -L, on the host and inside", "%s does not answer %s when it asks for its MAC address, %s", partyText(who), partyText(p.From), hop)
}

// wayOut says whether the host hands it on to the world outside.
func wayOut(p evidence.Path) []Step {
	if p.Host == nil || p.Gets().Kind != evidence.Outside || p.Host.Route.Local {
		return nil
	}
	const whose = theAdministrator
	r := p.Host.Route
	if r.Err != "" {
		return []Step{wrong(aboutOut, whose, "ip route", "this host has no route to %s: %s", p.Target, r.Err)}
	}
	if l, ok := p.Host.Link(r.Link); ok && (!l.Up || !l.Carrier) {
		return []Step{wrong(aboutOut, whose, "ip link show "+r.Link, "%s, by which this host sends it, is down or has no carrier", r.Link)}
	}
	if p.Host.Hop.Unanswered() {
		return []Step{wrong(aboutOut, "whoever runs "+p.Host.Hop.Addr.String(), "", "%s, to which this host hands it by %s, does not answer", hopText(p), r.Link)}
	}
	if from := p.Firewall.From; p.Firewall.Asked && from.IsValid() && slices.Contains(addresses(p.From), from) && p.Probe.Result == evidence.ProbeSilent {
		return []Step{wrong(aboutOut, "whoever chose the network", "route the subnet to this host out there, or let the network masquerade (its option enable_ip_masquerade)",
			"it leaves this host as %s, which nobody out there has a way back to: network %s does not masquerade", from, networksOf(p.From))}
	}
	return []Step{ok(aboutOut, "this host hands it to %s by %s", hopText(p), r.Link)}
}

func hopText(p evidence.Path) string {
	hop := p.Host.Route.Hop
	if hop == p.Target || !hop.IsValid() {
		return p.Target.String()
	}
	return "router " + hop.String()
}

// receiver says whether it is taken in there, and somebody waits for it.
func receiver(p evidence.Path) []Step {
	v, who := p.Receiver, p.Gets()
	if v == nil {
		return nil
	}
	to := received(p)
	if s := own(who, v, aboutReceiver, to.Is6()); s != nil {
		return s
	}
	if s := ownRules(who, v, aboutReceiver, "what comes in"); s != nil {
		return s
	}
	if gets := p.Gets(); gets.State == "paused" {
		return nil
	}
	return listening(p, v, who)
}

// received is the address that the receiver gets it at.
func received(p evidence.Path) netip.Addr {
	if a := p.Firewall.To.Addr(); p.Firewall.Asked && a.IsValid() {
		return a
	}
	return p.Target
}

// receivedPort is the port that the receiver gets it at.
func receivedPort(p evidence.Path) uint16 {
	if p.Firewall.Asked && p.Firewall.To.Port() != 0 {
		return p.Firewall.To.Port()
	}
	return p.Port
}

// wayBack says whether answers find back.
func wayBack(p evidence.Path) []Step {
	v, who := p.Receiver, p.Gets()
	if v == nil || who.Kind == evidence.Outside || v.Route.Local {
		return nil
	}
	if v.Route.Err != "" {
		return []Step{wrong(aboutBack, inside(who), backWay(who), "%s has no way back to %s: %s", partyText(who), answersTo(p), v.Route.Err)}
	}
	to := received(p)
	at := v.AddrsOn[to]
	for _, scope := range []string{"all", at} {
		path := "net/ipv4/conf/" + scope + "/rp_filter"
		if at != "" && v.Route.Link != "" && at != v.Route.Link && to.Is4() && v.Settings[path] == "1" && who.Kind == evidence.Container {
			return []Step{wrong(aboutBack, inside(who), "sysctl -w "+dotted(path)+"=2, inside; or give the answers a way by "+at,
				"%s drops it: it comes by %s, the answer would leave by %s, and %s is 1 there", partyText(who), at, v.Route.Link, dotted(path))}
		}
	}
	if v.Hop.Unanswered() && who.Kind == evidence.Container {
		return []Step{wrong(aboutBack, "", "linkspan network repair", "%s cannot answer: %s is silent when it asks for its MAC address", partyText(who), v.Hop.Addr)}
	}
	return []Step{ok(aboutBack, "%s answers by %s", partyText(who), v.Route.Link)}
}

func backWay(who evidence.Party) string {
	if who.Kind == evidence.Container {
		return repair
	}
	return "ip route"
}

// answersTo is who the receiver answers to.
func answersTo(p evidence.Path) string {
	if p.Firewall.Asked && p.Firewall.From.IsValid() {
		return p.Firewall.From.String()
	}
	if p.Source.IsValid() {
		return p.Source.String()
	}
	return partyText(p.From)
}
