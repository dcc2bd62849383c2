package firewalltest

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// CasesByModel asks the model about every case, with br_netfilter and without.
func CasesByModel(t *testing.T, backend Backend) {
	tr := tracer{backend.Model(t, CaseRows())}
	for id, c := range Cases() {
		for _, bridgeNetfilter := range []bool{false, true} {
			if wrong := tr.wrong(c, id, bridgeNetfilter); wrong != "" {
				t.Errorf("%s (br_netfilter=%t): %s", c, bridgeNetfilter, wrong)
			}
		}
	}
}

// wrong is what the model says otherwise; empty if it agrees.
func (tr tracer) wrong(c Case, id int, bridgeNetfilter bool) string {
	frame := c.frame(id)
	e := trial{from: c.from, to: c.to, source: c.source}
	var arrive, masqueraded bool
	var port uint16
	sent := frames.Source(frame).String()
	if c.from == "host" {
		arrive, masqueraded, port = tr.traceOutput(c, frame)
	} else {
		arrive, masqueraded = tr.trace(e, frame, bridgeNetfilter)
		port = tr.arrivalPort(c, frame, bridgeNetfilter)
	}
	switch {
	case arrive != c.arrives:
		return fmt.Sprintf("the model says that it arrives: %t", arrive)
	case !arrive:
		return ""
	case masqueraded != (c.source != sent):
		return fmt.Sprintf("the model says that its source is translated: %t", masqueraded)
	case port != c.at:
		return fmt.Sprintf("the model says that it comes to port %d", port)
	}
	return ""
}

// arrivalPort is the destination's port behind the translation of destinations.
func (tr tracer) arrivalPort(c Case, frame []byte, bridgeNetfilter bool) uint16 {
	from := PlaceOf(c.from)
	h := Hop{Frame: frame, In: from.Host, InGroup: from.Group()}
	if bridgeNetfilter || string(frame[:6]) == string(frames.MAC(from.GatewayMAC())) {
		tr.prerouting(&h, from)
	}
	return frames.DestinationPort(h.Frame)
}

// traceOutput follows a packet of the host's own.
func (tr tracer) traceOutput(c Case, frame []byte) (arrive, masqueraded bool, port uint16) {
	to := PlaceOf(c.to)
	device := func(a netip.Addr) string {
		if IsLocal(a) {
			return "lo"
		}
		return PlaceAt(a).Device()
	}
	h := Hop{Frame: frame, To: new(netip.AddrPort), Mark: new(uint32)}
	h.Out = device(h.Destination())
	if tr.Run(TranslateOutput, h) == Translate {
		h.First, h.Frame = h.Frame, frames.Readdressed(h.Frame, *h.To)
		h.Out = device(h.Destination())
	}
	port = frames.DestinationPort(h.Frame)
	if tr.Run(Output, h) == Drop || PlaceAt(h.Destination()).Name != to.Name {
		return false, false, port
	}
	masqueraded = tr.Run(TranslateSource, h) == Masquerade
	out := Hop{Frame: h.Frame, Out: to.Host, OutGroup: to.Group()}
	return tr.Run(BridgeOutput, out) != Drop, masqueraded, port
}

// CasesForReal sends the packet of every case, with br_netfilter and without.
func CasesForReal(t *testing.T, backend Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			l := NewLearnedLab(t, bridgeNetfilter)
			backend.Resync(t, l.Host, CaseRows()...)
			all := Cases()
			for id, c := range all {
				l.sendCase(c, id)
				if !c.arrives {
					continue
				}
				frame := l.Arrives(id, c.to)
				checkArrival(t, trial{name: c.String(), from: c.from, to: c.to, source: c.source}, frame)
				checkPort(t, trial{name: c.String(), port: c.at}, frame)
			}
			l.checkOnlyThere(all)
		})
	}
}

// sendCase sends a case's packet.
func (l *Lab) sendCase(c Case, id int) {
	if c.from != "host" {
		l.Send(c.from, c.frame(id))
		return
	}
	l.Host.Do(func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(c.ip), c.port).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(frames.Mark(id))
		return err
	})
}

// checkOnlyThere sends one more frame along every way, which arrives after all that went
// before, and then looks for packets at places that they are not for.
func (l *Lab) checkOnlyThere(all []Case) {
	l.t.Helper()
	id := len(all)
	for _, to := range []string{"a1", "q1", "b1", "m1", "m2", "r1", "u1", "i1", "out", "far"} {
		c := Case{from: "host", to: to, ip: PlaceOf(to).IP4, port: 7777}
		l.sendCase(c, id)
		if l.Arrives(id, to) == nil {
			l.t.Errorf("the last packet to %s is lost", to)
		}
		id++
	}
	for id, c := range all {
		for _, p := range Places() {
			if frame := l.Seen(id, p.Name); frame != nil && c.is(frame) && (!c.arrives || p.Name != c.to) {
				l.t.Errorf("%s: got to %s", c, p.Name)
			}
		}
	}
}

// is tells whether a frame with the case's mark is its packet, and not the host's ICMP error
// about that.
func (c Case) is(frame []byte) bool {
	protocol, isIP := frames.Protocol(frame)
	return isIP && protocol == c.protocol.Number()
}
