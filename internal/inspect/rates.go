package inspect

import (
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// Flow is what went one way: in all, and a second since the reading before.
type Flow struct {
	facts.Counter
	BytesRate, PacketsRate float64
}

// Rates is what happened between two readings.
type Rates struct {
	At      time.Time
	Over    time.Duration // that the rates are means of
	Members []MemberRates // as in the reading
	// Networks are sums over the containers on them, so what they send to each other is
	// counted as sent and as received.
	Networks []NetworkRates
	Ports    []PortRates
}

// MemberRates is a container on a network.
type MemberRates struct {
	MemberMeter
	In, Out Flow
}

// NetworkRates is a network, by the containers on it.
type NetworkRates struct {
	Network    model.Network
	Containers int
	In, Out    Flow
}

// PortRates is a published stretch of ports. Counted is false where the kernel does not see
// it.
type PortRates struct {
	Port
	Counted         bool
	Both            Flow // both ways
	Connections     uint64
	ConnectionsRate float64
}

// memberKey is by what a counter of a container is known again: one that was started anew
// counts from zero.
type memberKey struct {
	endpoint   model.EndpointID
	generation uint64
}

// RatesOf returns what happened between two readings. What was not there in the first has
// no rate yet.
func RatesOf(before, now Meter) Rates {
	out := Rates{At: now.At, Over: now.At.Sub(before.At)}
	members := make(map[memberKey]MemberMeter, len(before.Members))
	for _, m := range before.Members {
		members[memberKey{m.Endpoint.ID, m.Sandbox.Generation}] = m
	}
	for _, m := range now.Members {
		was, known := members[memberKey{m.Endpoint.ID, m.Sandbox.Generation}]
		if !known {
			was = m
		}
		out.Members = append(out.Members, MemberRates{m, flow(was.In, m.In, out.Over), flow(was.Out, m.Out, out.Over)})
	}
	out.Networks = networkRates(out.Members)
	ports := make(map[portKey]facts.PortTraffic, len(before.Ports))
	for _, p := range before.Ports {
		if p.Counts != nil {
			ports[keyOf(p)] = *p.Counts
		}
	}
	for _, p := range now.Ports {
		one := PortRates{Port: p, Counted: p.Counts != nil}
		if one.Counted {
			was, known := ports[keyOf(p)]
			if !known {
				was = *p.Counts
			}
			one.Both = flow(facts.Counter{Bytes: was.Bytes, Packets: was.Packets}, facts.Counter{Bytes: p.Counts.Bytes, Packets: p.Counts.Packets}, out.Over)
			one.Connections, one.ConnectionsRate = p.Counts.Connections, rate(was.Connections, p.Counts.Connections, out.Over)
		}
		out.Ports = append(out.Ports, one)
	}
	return out
}

func keyOf(p Port) portKey { return portKey{p.Binding.Protocol, p.Binding.Host, p.Binding.HostFirst} }

func flow(before, now facts.Counter, over time.Duration) Flow {
	return Flow{now, rate(before.Bytes, now.Bytes, over), rate(before.Packets, now.Packets, over)}
}

// rate is a second's share of what was counted. A counter that is lower than it was has
// begun anew.
func rate(before, now uint64, over time.Duration) float64 {
	if over <= 0 {
		return 0
	}
	if now < before {
		before = 0
	}
	return float64(now-before) / over.Seconds()
}

// networkRates sums up who is on each network, by its name.
func networkRates(all []MemberRates) (out []NetworkRates) {
	at := map[model.NetworkID]int{}
	for _, m := range all {
		i, known := at[m.Network.ID]
		if !known {
			i = len(out)
			at[m.Network.ID], out = i, append(out, NetworkRates{Network: m.Network})
		}
		n := &out[i]
		n.Containers++
		n.In.add(m.In)
		n.Out.add(m.Out)
	}
	slices.SortFunc(out, func(a, b NetworkRates) int { return strings.Compare(a.Network.Name, b.Network.Name) })
	return out
}

func (f *Flow) add(o Flow) {
	f.Bytes, f.Packets = f.Bytes+o.Bytes, f.Packets+o.Packets
	f.BytesRate, f.PacketsRate = f.BytesRate+o.BytesRate, f.PacketsRate+o.PacketsRate
}
