package inspect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

// Asker is who asked for rules of the firewall: a network, a container, or the host.
type Asker struct {
	Kind  string // "host", "network" or "container"
	Name  string // of the network or container; empty for the host
	ID    string
	Rules []Rule
}

// Rule is one policy, in words.
type Rule struct {
	Text string // what it does
	Row  string // as the plan has it
}

// Policies returns what the firewall has been asked for, by who asked: the host first, then
// networks and containers, by name.
func (r *Reader) Policies() []Asker {
	s := r.o.Engine.Snapshot()
	all := map[string]*Asker{}
	for o := range r.o.Engine.Plan().All() {
		if kind := o.Row.Key().Kind; kind != desired.KindPolicy && kind != desired.KindUplink {
			continue
		}
		a := asker(s, o.Owner)
		if all[a.Kind+a.ID] == nil {
			all[a.Kind+a.ID] = &a
		}
		have := all[a.Kind+a.ID]
		have.Rules = append(have.Rules, Rule{words(o.Row), o.Row.String()})
	}
	out := []Asker{}
	for _, a := range all {
		slices.SortFunc(a.Rules, func(x, y Rule) int { return cmp.Compare(x.Row, y.Row) })
		out = append(out, *a)
	}
	rank := map[string]int{"host": 0, "network": 1, "container": 2}
	slices.SortFunc(out, func(a, b Asker) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// asker is whom an owner of rows belongs to.
func asker(s *state.Snapshot, o desired.Owner) Asker {
	kind, id, _ := strings.Cut(string(o), "/")
	of := func(sb model.Sandbox) Asker {
		return Asker{Kind: "container", Name: sb.Name, ID: model.Short(sb.Container)}
	}
	switch kind {
	case "network":
		n, _ := s.Network(model.NetworkID(id))
		return Asker{Kind: kind, Name: n.Name, ID: model.Short(n.ID)}
	case "sandbox":
		sb, _ := s.Sandbox(model.SandboxID(id))
		return of(sb)
	case "endpoint":
		e, _ := s.Endpoint(model.EndpointID(id))
		sb, _ := s.Sandbox(e.Sandbox)
		return of(sb)
	}
	return Asker{Kind: "host"}
}

// String is who asked, in words.
func (a Asker) String() string { return strings.TrimSpace(a.Kind + " " + a.Name) }

// words says what a policy does.
func words(row desired.Row) string {
	switch r := row.(type) {
	case desired.BridgePolicy:
		return bridgeWords(r)
	case desired.Uplink:
		return fmt.Sprintf("interface %s is a port of bridge %s: its LAN and the containers reach one another, past the host", r.Link, r.Bridge)
	case desired.Masquerade:
		as := "the host's address"
		if r.Source.IsValid() {
			as = r.Source.String()
		}
		return fmt.Sprintf("what leaves %s for other machines leaves as %s", r.Subnet, as)
	case desired.ForwardDrop:
		return fmt.Sprintf("%s between interfaces of which none is ours is not forwarded", families(r.IPv4, r.IPv6))
	case desired.AcceptMark:
		return fmt.Sprintf("packets with the mark 0x%x/0x%x are let in", r.Mark, r.Mask)
	case desired.Publish:
		return fmt.Sprintf("%s %s leads to %s", r.Protocol, stretch(r.Host, r.First, r.Last), stretch(r.To, r.ToFirst, r.ToFirst+(r.Last-r.First)))
	case desired.Served:
		return fmt.Sprintf("%s %s is served in user space", r.Protocol, stretch(r.Host, r.First, r.Last))
	case desired.Direct:
		return directWords(r) + " from everywhere"
	case desired.DirectFrom:
		return directWords(r.Direct) + " for what comes by " + r.Interface
	case desired.DirectICMP:
		return fmt.Sprintf("pings and ICMP errors reach %s from everywhere", r.Addr)
	case desired.Allow:
		return fmt.Sprintf("%s reaches %s %s, though the network keeps containers apart", r.From, r.Protocol, stretch(r.To, r.First, r.Last))
	case desired.PortSecurity:
		return securityWords(r)
	case desired.Identity:
		return "nobody may speak as the host: " + list(r.Addrs, r.Gateways)
	case desired.Transparent:
		return fmt.Sprintf("answers of containers on %s reach proxies of this host that speak under their clients' addresses", r.Bridge)
	case desired.Elsewhere:
		return fmt.Sprintf("port %s may use what its container has on other networks: %s", r.Port, list(r.Addrs))
	}
	return row.String()
}

func bridgeWords(r desired.BridgePolicy) string {
	border := "nothing comes in but what is published"
	if r.Internal {
		border = "internal, nothing comes in or goes out"
	}
	inside := "containers reach one another"
	if !r.ICC {
		inside = "containers are kept apart (icc=false)"
	}
	return fmt.Sprintf("bridge %s: %s; %s", r.Bridge, border, inside)
}

func directWords(r desired.Direct) string {
	if r.First == 0 {
		return fmt.Sprintf("all ports of %s are reached at its own address", r.Addr)
	}
	return fmt.Sprintf("%s %s is reached at its own address", r.Protocol, stretch(r.Addr, r.First, r.Last))
}

func securityWords(r desired.PortSecurity) string {
	switch r.Mode {
	case desired.PortCapable:
		return fmt.Sprintf("port %s speaks as %s %s, and as whoever nobody else is", r.Port, r.MAC, list(r.Addrs))
	case desired.PortUnchecked:
		return fmt.Sprintf("port %s speaks as it likes", r.Port)
	}
	return fmt.Sprintf("port %s speaks as %s %s and nobody else", r.Port, r.MAC, list(r.Addrs))
}

// families names those that are chosen.
func families(four, six bool) string {
	switch {
	case four && six:
		return "what comes and goes"
	case four:
		return "IPv4"
	case six:
		return "IPv6"
	}
	return "nothing"
}

func list(all ...[]netip.Addr) string {
	var out []string
	for _, a := range slices.Concat(all...) {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// stretch is an address with ports: "[::]:8000-8010".
func stretch(a netip.Addr, first, last uint16) string {
	s := netip.AddrPortFrom(a, first).String()
	if last != first {
		s += fmt.Sprintf("-%d", last)
	}
	return s
}
