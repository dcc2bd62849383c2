package nft

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/nft/trace"
)

// tracer is the ruleset that rows are rendered to, with the very expressions that are sent
// to the kernel.
type tracer struct{ trace.Ruleset }

func newTracer(t testing.TB, rows []desired.Row) tracer {
	t.Helper()
	return tracerOf(t, Options{Instance: "test"}, rows)
}

func tracerOf(t testing.TB, o Options, rows []desired.Row) tracer {
	t.Helper()
	model, err := Model(o, rows)
	if err != nil {
		t.Fatal(err)
	}
	return tracer{model}
}

// chains are those of a hook, in the order of their priorities.
func chains(at firewalltest.Hook) (family byte, names []string) {
	switch at {
	case firewalltest.BridgePrerouting:
		return unix.NFPROTO_BRIDGE, []string{"prerouting"}
	case firewalltest.BridgeForward:
		return unix.NFPROTO_BRIDGE, []string{"forward"}
	case firewalltest.BridgeForwardLate:
		return unix.NFPROTO_BRIDGE, []string{"icc"}
	case firewalltest.BridgeInput:
		return unix.NFPROTO_BRIDGE, []string{"input", chainHear}
	case firewalltest.BridgeOutput:
		return unix.NFPROTO_BRIDGE, []string{"output"}
	case firewalltest.Prerouting:
		return unix.NFPROTO_INET, []string{"early"}
	case firewalltest.TranslateDestination:
		return unix.NFPROTO_INET, []string{"prerouting"}
	case firewalltest.Input:
		return unix.NFPROTO_INET, []string{"input"}
	case firewalltest.TranslateOutput:
		return unix.NFPROTO_INET, []string{"output"}
	case firewalltest.Output:
		return unix.NFPROTO_INET, []string{"sent"}
	case firewalltest.Forward:
		return unix.NFPROTO_INET, []string{"forward"}
	case firewalltest.TranslateSource:
		return unix.NFPROTO_INET, []string{"postrouting"}
	}
	panic("no such hook: " + at)
}

// Run returns what the chains of a hook make of a packet: the first verdict that is no
// accept.
func (tr tracer) Run(at firewalltest.Hook, h firewalltest.Hop) firewalltest.Verdict {
	family, names := chains(at)
	for _, name := range names {
		if v := tr.run(family, name, h); v != firewalltest.Accept {
			return v
		}
	}
	return firewalltest.Accept
}

// run returns what a chain makes of a packet. None of our own rules may be in doubt.
func (tr tracer) run(family byte, name string, h firewalltest.Hop) firewalltest.Verdict {
	for _, t := range tr.Tables {
		if t.Family != family {
			continue
		}
		p := packetOf(h)
		r := t.Run(t.Chain(name), p)
		if r.Doubt {
			panic("in doubt: " + r.Visits[len(r.Visits)-1].Doubt)
		}
		if h.Mark != nil {
			*h.Mark = p.Mark
		}
		switch r.Verdict {
		case trace.TranslateTo, trace.TranslateFrom:
			*h.To = r.To
			return firewalltest.Translate
		case trace.Masquerade:
			return firewalltest.Masquerade
		}
		return firewalltest.Verdict(r.Verdict)
	}
	panic("no such table")
}

// inIndex is the index of every interface that a packet of the trials comes in by.
const inIndex = 2

func packetOf(h firewalltest.Hop) *trace.Packet {
	p := &trace.Packet{
		Frame: h.Frame, In: trace.Link{Name: h.In, Index: inIndex, Group: h.InGroup}, Out: trace.Link{Name: h.Out, Group: h.OutGroup},
		State: h.State, Original: h.First, Host: routes{h},
	}
	if h.Mark != nil {
		p.Mark = *h.Mark
	}
	return p
}

// routes is the routing of the trials' host.
type routes struct{ firewalltest.Hop }

// AddrType implements trace.Host.
func (r routes) AddrType(_ netip.Addr, link string) uint32 { return r.DestinationType(link != "") }

// WayBack implements trace.Host.
func (r routes) WayBack(*trace.Packet) uint32 {
	if r.HasWayBack() {
		return inIndex
	}
	return 0
}

// NextHop implements trace.Host.
func (r routes) NextHop(*trace.Packet) netip.Addr { return r.Destination() }
