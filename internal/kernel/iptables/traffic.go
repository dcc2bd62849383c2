package iptables

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/iptables/ruleset"
	"github.com/linkspan/linkspan/internal/model"
)

// Traffic reads the counters of all published ports, ordered by protocol, address and
// port. Connections are counted by the rules of the nat table, which see the first packet
// of each; packets and bytes by the tables beside, 0 where there are none.
func (b *Backend) Traffic(ctx context.Context) ([]facts.PortTraffic, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ports := map[portKey]*facts.PortTraffic{}
	for _, t := range b.tools {
		rules, err := t.read(ctx, "-t", tableNAT)
		if err != nil {
			return nil, fmt.Errorf("read traffic of published ports: %w", err)
		}
		for _, chain := range []string{chainDocker, chainDNAT} {
			for _, l := range rulesOf(rules.Table(tableNAT).Chain(chain)) {
				connect(ports, t.family, l)
			}
		}
	}
	if b.beside != nil {
		counted, err := b.beside.Traffic(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range counted {
			if p := ports[portKey{c.Protocol, c.Host, c.First}]; p != nil {
				p.Packets, p.Bytes = c.Packets, c.Bytes
			}
		}
	}
	var out []facts.PortTraffic
	for _, p := range ports {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b facts.PortTraffic) int {
		return cmp.Or(strings.Compare(string(a.Protocol), string(b.Protocol)), a.Host.Compare(b.Host), cmp.Compare(a.First, b.First))
	})
	return out, nil
}

type portKey struct {
	protocol model.Protocol
	host     netip.Addr
	first    uint16
}

// connect counts the connections of a rule for the port that it is about.
func connect(ports map[portKey]*facts.PortTraffic, family int, l ruleset.Line) {
	p := facts.PortTraffic{Protocol: model.Protocol(l.Rule.Protocol.Text), Host: netip.IPv4Unspecified()}
	if family == six {
		p.Host = netip.IPv6Unspecified()
	}
	if d := l.Rule.Destination.Prefix; d.IsValid() {
		p.Host = d.Addr()
	}
	for _, m := range l.Rule.Matches {
		if o, ok := m.Option("dport"); ok && len(o.Values) == 1 {
			first, last, several := strings.Cut(o.Values[0], ":")
			if !several {
				last = first
			}
			p.First, p.Last = number(first), number(last)
		}
	}
	if l.Rule.Target != "DNAT" || p.First == 0 {
		return
	}
	key := portKey{p.Protocol, p.Host, p.First}
	if ports[key] == nil {
		ports[key] = &p
	}
	ports[key].Connections += l.Packets
}

func number(s string) uint16 {
	n, _ := strconv.ParseUint(s, 10, 16) // 0 for what is none
	return uint16(n)
}
