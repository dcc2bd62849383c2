package firewalltest

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// tracer follows trials by a model.
type tracer struct{ Model }

// trace follows a frame from hook to hook, as the kernel would.
func (tr tracer) trace(c trial, frame []byte, bridgeNetfilter bool) (arrive, masqueraded bool) {
	from, to := PlaceOf(c.from), PlaceOf(c.to)
	h := Hop{Frame: frame, In: from.Host, InGroup: from.Group(), State: c.state}
	if from.Bridge != "" && tr.Run(BridgePrerouting, h) == Drop {
		return false, false
	}
	routed := from.Bridge == "" || string(frame[:6]) == string(frames.MAC(from.GatewayMAC()))
	ip := h.Kind() == frames.IPv4 || h.Kind() == frames.IPv6
	if ip && (routed || bridgeNetfilter) {
		if !tr.prerouting(&h, from) {
			return false, false
		}
		if h.First != nil && PlaceOf(c.to) != PlaceAt(h.Destination()) {
			return false, false // it went elsewhere
		}
		routed = routed && (h.First == nil || !bridgeNetfilter || from.Bridge == "" || from.Bridge != to.Bridge)
	}
	if c.state == 0 && IsLocal(h.Destination()) { // answers are sent back to their true destination
		return false, false
	}
	return tr.onwards(h, c, routed, bridgeNetfilter && ip)
}

// prerouting is what comes before the choice of a way: false if that is the end.
func (tr tracer) prerouting(h *Hop, from Place) bool {
	at := Hop{Frame: h.Frame, In: from.Device(), State: h.State, To: new(netip.AddrPort)}
	if tr.Run(Prerouting, at) == Drop {
		return false
	}
	if h.State == 0 && tr.Run(TranslateDestination, at) == Translate {
		h.First, h.Frame = h.Frame, frames.Readdressed(h.Frame, *at.To)
	}
	return true
}

// onwards is from the choice of a way to the other end of the cable.
func (tr tracer) onwards(h Hop, c trial, routed, bridgeNetfilter bool) (arrive, masqueraded bool) {
	from, to := PlaceOf(c.from), PlaceOf(c.to)
	h.Mark = new(uint32)
	frame := h
	frame.Out, frame.OutGroup = to.Host, to.Group()
	h = Hop{Frame: h.Frame, First: h.First, In: from.Device(), Out: to.Device(), State: c.state, Mark: h.Mark}
	if !routed && tr.Run(BridgeForward, frame) == Drop {
		return false, false
	}
	if (routed || bridgeNetfilter) && tr.Run(Forward, h) == Drop {
		return false, false
	}
	if !routed && tr.Run(BridgeForwardLate, frame) == Drop {
		return false, false
	}
	if !routed && !bridgeNetfilter {
		return true, false
	}
	if !routed {
		h.In = "" // the kernel does not say
	}
	h.To = new(netip.AddrPort)
	masqueraded = c.state == 0 && c.leaves(tr.Run(TranslateSource, h), *h.To)
	out := Hop{Frame: h.Frame, Out: to.Host, OutGroup: to.Group()}
	if routed && to.Bridge != "" && tr.Run(BridgeOutput, out) == Drop {
		return false, masqueraded
	}
	return true, masqueraded
}
