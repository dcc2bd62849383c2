package border

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// Where a frame can end besides at places: in the stack of the host, by a bridge, and
// in that of a port, past its bridge.
const (
	atHost = "the host"
	atPort = "the port's own stack"
)

// Network is what the model knows besides the rules: what the kernel does between the
// hooks. It follows br_handle_frame, br_handle_frame_finish, ip_rcv, ip6_rcv and the
// functions that they lead to. br_netfilter is off.
type Network struct {
	firewalltest.Model
	Passes func(firewalltest.Place) bool // whether a port passes reserved groups on (group_fwd_mask)
	Fences map[string]desired.Fence
	left   map[int]netip.Addr // is filled: the source under which a frame leaves the host
}

// fate is everywhere that a frame gets to.
func (n Network) fate(f Forged) []string {
	var out []string
	add := func(where ...string) {
		for _, w := range where {
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	dst := frames.MAC(f.dmac)
	if frames.MAC(f.smac)[0]&1 != 0 {
		return nil // is_valid_ether_addr
	}
	h := firewalltest.Hop{Frame: f.frame, In: f.from.Host, InGroup: f.from.Group(), State: f.body.state}
	if strings.HasPrefix(f.dmac, "01:80:c2:00:00:0") {
		switch last := dst[5]; {
		case last == 1: // MAC pause
			return nil
		case last == 0, n.Passes(f.from):
		case last != 0xe && n.Run(firewalltest.BridgeInput, h) == firewalltest.Drop:
			return nil
		default:
			add(atPort)
			add(n.stack(f, f.from.Host, h)...)
			return out
		}
	}
	if n.Run(firewalltest.BridgePrerouting, h) == firewalltest.Drop {
		return nil
	}
	group := dst[0]&1 != 0
	local := f.dmac == f.from.GatewayMAC() || f.dmac == firewalltest.UplinkMAC
	for _, p := range firewalltest.Places() {
		if local || p.Bridge != f.from.Bridge {
			continue
		}
		known := placeOfMAC(f.dmac, f.from.Bridge)
		if !group && known != "" && known != p.Name {
			continue
		}
		if p.Name == f.from.Name && !p.Ours { // only ports of ours are hairpin ports
			continue
		}
		at := h
		at.Out, at.OutGroup, at.Mark = p.Host, p.Group(), new(uint32)
		if n.Run(firewalltest.BridgeForward, at) != firewalltest.Drop && n.Run(firewalltest.BridgeForwardLate, at) != firewalltest.Drop {
			add(p.Name)
		}
	}
	if (local || group) && n.Run(firewalltest.BridgeInput, h) != firewalltest.Drop {
		add(n.stack(f, f.from.Bridge, h)...)
	}
	return out
}

func placeOfMAC(mac, bridge string) string {
	for _, p := range firewalltest.Places() {
		if p.MAC == mac && p.Bridge == bridge {
			return p.Name
		}
	}
	return ""
}

// stack is what becomes of a frame that a device hands to the host.
func (n Network) stack(f Forged, device string, h firewalltest.Hop) []string {
	h = firewalltest.Hop{Frame: f.untagged(), In: device, State: f.body.state, To: new(netip.AddrPort), Mark: new(uint32)}
	if device == f.from.Host {
		h.InGroup = f.from.Group()
	}
	if h.Kind() != frames.IPv4 && h.Kind() != frames.IPv6 {
		if device == f.from.Host {
			return nil // counted as being there
		}
		return []string{atHost}
	}
	src, dst := frames.Source(h.Frame), h.Destination()
	if f.tags > 1 || !n.fenced(device, h.Kind(), dst, src) {
		return nil
	}
	if src.Is6() && (src.IsLoopback() || dst.IsLoopback() || src.Is4In6()) { // ip6_rcv_core
		return nil
	}
	if n.Run(firewalltest.Prerouting, h) == firewalltest.Drop {
		return nil
	}
	if h.State == 0 && n.Run(firewalltest.TranslateDestination, h) == firewalltest.Translate {
		h.First, h.Frame = h.Frame, frames.Readdressed(h.Frame, *h.To)
	}
	toHost := frames.MAC(f.dmac)[0]&1 == 0
	dst = h.Destination()
	switch {
	case forThisHost(dst, device):
		if n.Run(firewalltest.Input, h) == firewalltest.Drop {
			return nil
		}
		return []string{atHost}
	case dst.IsMulticast() || !toHost: // PACKET_MULTICAST is not forwarded
		return nil
	}
	return n.routed(f, h, firewalltest.PlaceAt(dst))
}

// fenced tells whether a packet passes the fence of the device, on the way to the host
// with its destination, and on the way from it with its source.
func (n Network) fenced(device string, kind uint16, address, other netip.Addr) bool {
	row := n.Fences[device]
	if len(row.Inside) == 0 {
		return !row.Localhost || kind != frames.IPv4 || !address.IsLoopback() && !other.IsLoopback()
	}
	return slices.ContainsFunc(row.Inside, func(s netip.Prefix) bool { return s.Contains(address) }) ||
		address.IsMulticast() || address.Is6() && address.IsLinkLocalUnicast() || address.IsUnspecified() || address.String() == "255.255.255.255"
}

// forThisHost is the choice of a way that leads inside.
func forThisHost(dst netip.Addr, device string) bool {
	switch {
	case dst.String() == "fe80::1":
		return strings.HasPrefix(device, "br-")
	}
	return firewalltest.IsLocal(dst) || dst.String() == "255.255.255.255" || dst.String() == "224.0.0.1" || dst.String() == "ff02::1"
}

// masqueradeAt is the host's own address on the way to a place.
func masqueradeAt(to firewalltest.Place, src netip.Addr) netip.Addr {
	if src.Is4() {
		return netip.MustParseAddr(firewalltest.HostOf(to.IP4, 24))
	}
	return netip.MustParseAddr(firewalltest.HostOf(to.IP6, 64))
}

// routed is the way through the host to another device.
func (n Network) routed(f Forged, h firewalltest.Hop, to firewalltest.Place) []string {
	src := frames.Source(h.Frame)
	elsewhere := to.Device() != h.In
	if to.Name == "" || h.Destination().IsLoopback() || elsewhere && src.Is6() && (src.IsUnspecified() || src.IsLinkLocalUnicast()) {
		return nil // ip6_forward looks at the source unless the packet goes back
	}
	h.Out = to.Device()
	if n.Run(firewalltest.Forward, h) == firewalltest.Drop {
		return nil
	}
	if to.Bridge == "" {
		if h.State == 0 && n.Run(firewalltest.TranslateSource, h) == firewalltest.Masquerade {
			src = masqueradeAt(to, src)
		}
		n.left[f.id] = src
		return []string{to.Name}
	}
	out := firewalltest.Hop{Frame: h.Frame, Out: to.Host, OutGroup: to.Group()}
	if !n.fenced(h.Out, h.Kind(), src, h.Destination()) && len(n.Fences[h.Out].Inside) > 0 ||
		n.Run(firewalltest.BridgeOutput, out) == firewalltest.Drop {
		return nil
	}
	return []string{to.Name}
}
