package investigate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/evidence"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/privateapi"
)

// Settings that matter on a way.
var (
	settingsInside = []string{"net/ipv4/conf/all/rp_filter", "net/ipv4/conf/all/arp_ignore"}
	settingsHost   = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max"}
)

// look gathers everything about the way between two that are there.
func (t *trace) look() {
	p := &t.path
	if !p.Target.IsValid() && p.To.Kind != evidence.TheHost && p.From.Kind != evidence.Outside {
		return
	}
	t.probe()
	t.sender()
	if network, ok := t.within(); ok {
		t.path.Within = evidence.Within{Network: network.Name, Namespace: network.Namespace}
		t.backends()
	} else {
		t.explain()
		t.hostView()
	}
	t.receiver()
	if t.path.Gets().Kind == evidence.TheHost && t.path.Port != 0 {
		t.elsewhere()
	}
}

// elsewhere notes who publishes the port at other addresses of the host.
func (t *trace) elsewhere() {
	for _, c := range t.state.Containers {
		one := evidence.PublishedAt{Container: c.Name}
		for _, b := range c.Ports {
			if c.Up && model.Protocol(b.Protocol) == t.path.Protocol && b.HostPort != 0 && ports(b.HostPort, b.Count).Contains(model.Port(t.path.Port)) && !b.Host.IsUnspecified() {
				one.At = append(one.At, b.Host)
			}
		}
		if len(one.At) > 0 {
			t.path.Elsewhere = append(t.path.Elsewhere, one)
		}
	}
}

// seen tells whether a party is on this host.
func seen(p evidence.Party) bool { return p.Kind != evidence.Outside && p.Kind != evidence.AService }

func (t *trace) probe() {
	p := &t.path
	if t.Quiet || !seen(p.From) || !p.Target.IsValid() {
		return
	}
	p.Probe = t.Surveyor.Probe(t.ctx, evidence.ProbeQuestion{
		Namespace: p.From.Namespace, Protocol: p.Protocol, To: netip.AddrPortFrom(p.Target, p.Port), Timeout: t.patience(),
	})
}

// inside are the settings of a party's namespace.
func inside(p evidence.Party) []string {
	out := slices.Clone(settingsInside)
	for _, m := range p.Networks {
		for _, name := range []string{"net/ipv4/conf/%s/rp_filter", "net/ipv4/conf/%s/arp_ignore", "net/ipv6/conf/%s/disable_ipv6"} {
			if m.Interface != "" {
				out = append(out, fmt.Sprintf(name, m.Interface))
			}
		}
	}
	return out
}

func (t *trace) sender() {
	p := &t.path
	if !seen(p.From) || !p.Target.IsValid() {
		if a, err := netip.ParseAddr(p.From.Name); err == nil {
			p.Source = a.Unmap()
		}
		return
	}
	q := evidence.ViewQuestion{Namespace: p.From.Namespace, To: p.Target, Settings: inside(p.From), Protocol: p.Protocol, Port: p.Port}
	v, err := t.Surveyor.View(t.ctx, q)
	if err != nil {
		return
	}
	p.Source = v.Route.Source
	if p.Probe.From.IsValid() {
		p.Source = p.Probe.From
	}
	if p.From.Namespace != "" && p.Source.IsValid() {
		q.From, q.Rules = p.Source, true
		if again, err := t.Surveyor.View(t.ctx, q); err == nil {
			again.Route = v.Route
			v = again
		}
	}
	p.Sender = &v
}

// targetOf is an address with a port, as the daemon's firewall explain takes it.
func targetOf(a netip.Addr, port uint16, protocol model.Protocol) string {
	if port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, port).String() + "/" + string(protocol)
}

// explain asks what the rules of the host make of the packet.
func (t *trace) explain() {
	p := &t.path
	from, target, to := "", "", ""
	switch {
	case p.From.Kind == evidence.TheHost || p.From.Kind == evidence.Container && p.From.Namespace == "":
		from = "localhost"
	case p.Source.IsValid():
		from = p.Source.String()
	case p.From.Kind == evidence.Container:
		return // it has no way out
	}
	switch {
	case p.Target.IsValid():
		target = targetOf(p.Target, p.Port, p.Protocol)
	case p.Port != 0:
		target = strconv.Itoa(int(p.Port)) + "/" + string(p.Protocol)
	default:
		return
	}
	if local := p.Sender != nil && p.Sender.Route.Local; local && p.From.Namespace != "" {
		return // it does not leave the container
	}
	answer, err := t.Daemon.Explain(t.ctx, target, from, to)
	if err != nil {
		p.Firewall = evidence.Verdict{Asked: true, Err: err.Error()}
		return
	}
	p.Firewall = VerdictOf(answer)
	if a := p.Firewall.To.Addr(); !p.Target.IsValid() {
		p.Target = a
	}
	t.final(p.Firewall.To.Addr())
}

// final notes who gets it behind a port of the host.
func (t *trace) final(at netip.Addr) {
	c, ok := t.holder(at)
	if !ok || slices.ContainsFunc(t.path.To.Networks, func(m evidence.Membership) bool { return slices.Contains(m.Addrs, at) }) {
		return
	}
	if party, record, err := t.container(c.ID); err == nil {
		t.path.Final, t.to = &party, record
	}
}

// VerdictOf translates the daemon's answer.
func VerdictOf(a privateapi.Path) evidence.Verdict {
	out := evidence.Verdict{Asked: true, Outcome: a.Outcome, In: a.In, Out: a.Out}
	out.From, _ = netip.ParseAddr(a.Arrives.From) // invalid for the host itself
	if at, err := netip.ParseAddrPort(a.Arrives.To); err == nil {
		out.To = at
	} else if addr, err := netip.ParseAddr(a.Arrives.To); err == nil {
		out.To = netip.AddrPortFrom(addr, 0)
	}
	for _, s := range a.Steps {
		if !s.Decides && (out.Decides != "" || s.Doubt == "") {
			continue
		}
		out.Decides = ruleText(s)
		_, out.For, _ = strings.Cut(s.Owner, "linkspan, for ")
		out.Ours = strings.HasPrefix(s.Owner, "linkspan")
		if s.WayOut != "" {
			out.WayOut = s.WayOut
		}
	}
	return out
}

// ruleText is a rule in words, and where it is.
func ruleText(s privateapi.Step) string {
	if s.Table == "" {
		return s.Verdict
	}
	what := s.Rule
	switch {
	case s.Comment != "" && strings.HasPrefix(s.Owner, "linkspan"):
		what = s.Comment
	case what == "":
		what = "policy " + s.Verdict
	}
	if s.Doubt != "" {
		what += ": " + s.Doubt
	}
	return fmt.Sprintf("the rule in %s, chain %s (%s)", s.Table, s.Chain, what)
}

// arrivesAt is where it arrives in the end.
func (t *trace) arrivesAt() netip.AddrPort {
	to := netip.AddrPortFrom(t.path.Target, t.path.Port)
	if a := t.path.Firewall.To; t.path.Firewall.Asked && a.Addr().IsValid() {
		to = netip.AddrPortFrom(a.Addr(), max(a.Port(), 0))
		if a.Port() == 0 {
			to = netip.AddrPortFrom(a.Addr(), t.path.Port)
		}
	}
	return to
}

func (t *trace) hostView() {
	settings := slices.Clone(settingsHost)
	for _, link := range []string{t.path.Firewall.In, t.path.Firewall.Out} {
		if link != "" {
			settings = append(settings, "net/ipv4/conf/"+link+"/forwarding")
		}
	}
	for _, m := range t.path.From.Networks {
		if m.Bridge != "" {
			settings = append(settings, "net/ipv4/conf/"+m.Bridge+"/forwarding")
		}
	}
	v, err := t.Surveyor.View(t.ctx, evidence.ViewQuestion{To: t.arrivesAt().Addr(), Settings: settings})
	if err != nil {
		return
	}
	t.path.Host = &v
	t.path.Connections.Count, _ = strconv.Atoi(v.Settings["net/netfilter/nf_conntrack_count"])
	t.path.Connections.Max, _ = strconv.Atoi(v.Settings["net/netfilter/nf_conntrack_max"])
}

// receiver looks into the namespace of who gets it.
func (t *trace) receiver() {
	gets := t.path.Gets()
	if !seen(gets) || !gets.Running() {
		return
	}
	to := t.arrivesAt()
	q := evidence.ViewQuestion{
		Namespace: gets.Namespace, From: to.Addr(), Arriving: true, Protocol: t.path.Protocol, Port: to.Port(), Sockets: to.Port() != 0, Settings: inside(gets),
	}
	switch {
	case t.path.Firewall.Asked && t.path.Firewall.Err == "":
		q.To = t.path.Firewall.From
	default:
		q.To = t.path.Source
	}
	if q.To == q.From {
		q.To = netip.Addr{} // it talks to itself
	}
	q.Rules = q.To.IsValid()
	v, err := t.Surveyor.View(t.ctx, q)
	if err != nil {
		return
	}
	t.path.Receiver = &v
}
