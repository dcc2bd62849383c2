package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// Where a frame can end besides at places: in the stack of the host, by a bridge, and
// in that of a port, past its bridge.
const (
	atHost = "the host"
	atPort = "the port's own stack"
)

// network is what the model knows besides the rules: what the kernel does between the
// hooks. It follows br_handle_frame, br_handle_frame_finish, ip_rcv, ip6_rcv and the
// functions that they lead to. br_netfilter is off.
type network struct {
	tracer
	passes func(place) bool // whether a port passes reserved groups on (group_fwd_mask)
	fences map[string]desired.Fence
	left   map[int]netip.Addr // is filled: the source under which a frame leaves the host
}

// fate is everywhere that a frame gets to.
func (n network) fate(f forged) []string {
	var out []string
	add := func(where ...string) {
		for _, w := range where {
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	dst := parseMAC(f.dmac)
	if parseMAC(f.smac)[0]&1 != 0 {
		return nil // is_valid_ether_addr
	}
	h := hop{frame: f.frame, iif: f.from.host, iifGroup: f.from.group(), state: f.body.state}
	if strings.HasPrefix(f.dmac, "01:80:c2:00:00:0") {
		switch last := dst[5]; {
		case last == 1: // MAC pause
			return nil
		case last == 0, n.passes(f.from):
		case last != 0xe && n.run(unix.NFPROTO_BRIDGE, "input", h) == verdictDrop:
			return nil
		default:
			add(atPort)
			add(n.stack(f, f.from.host, h)...)
			return out
		}
	}
	if n.run(unix.NFPROTO_BRIDGE, "prerouting", h) == verdictDrop {
		return nil
	}
	group := dst[0]&1 != 0
	local := f.dmac == f.from.gatewayMAC() || f.dmac == uplinkMAC
	for _, p := range places() {
		if local || p.bridge != f.from.bridge {
			continue
		}
		known := placeOfMAC(f.dmac, f.from.bridge)
		if !group && known != "" && known != p.name {
			continue
		}
		if p.name == f.from.name && !p.ours { // only ports of ours are hairpin ports
			continue
		}
		at := h
		at.oif, at.oifGroup, at.mark = p.host, p.group(), new(uint32)
		if n.run(unix.NFPROTO_BRIDGE, "forward", at) != verdictDrop && n.run(unix.NFPROTO_BRIDGE, "icc", at) != verdictDrop {
			add(p.name)
		}
	}
	if (local || group) && n.run(unix.NFPROTO_BRIDGE, "input", h) != verdictDrop && n.run(unix.NFPROTO_BRIDGE, chainHear, h) != verdictDrop {
		add(n.stack(f, f.from.bridge, h)...)
	}
	return out
}

func placeOfMAC(mac, bridge string) string {
	for _, p := range places() {
		if p.mac == mac && p.bridge == bridge {
			return p.name
		}
	}
	return ""
}

// stack is what becomes of a frame that a device hands to the host.
func (n network) stack(f forged, device string, h hop) []string {
	h = hop{frame: f.untagged(), iif: device, state: f.body.state, nat: new(netip.AddrPort), mark: new(uint32)}
	if device == f.from.host {
		h.iifGroup = f.from.group()
	}
	if h.kind() != etherIPv4 && h.kind() != etherIPv6 {
		if device == f.from.host {
			return nil // counted as being there
		}
		return []string{atHost}
	}
	src, dst := addressAt(h.frame, false), h.destination()
	if f.tags > 1 || !n.fenced(device, h.kind(), dst, src) {
		return nil
	}
	if src.Is6() && (src.IsLoopback() || dst.IsLoopback() || src.Is4In6()) { // ip6_rcv_core
		return nil
	}
	if n.run(unix.NFPROTO_INET, "early", h) == verdictDrop {
		return nil
	}
	if h.state == 0 && n.run(unix.NFPROTO_INET, "prerouting", h) == verdictTranslate {
		h.first, h.frame = h.frame, readdressed(h.frame, *h.nat)
	}
	toHost := parseMAC(f.dmac)[0]&1 == 0
	dst = h.destination()
	switch {
	case forThisHost(dst, device):
		if n.run(unix.NFPROTO_INET, "input", h) == verdictDrop {
			return nil
		}
		return []string{atHost}
	case dst.IsMulticast() || !toHost: // PACKET_MULTICAST is not forwarded
		return nil
	}
	return n.routed(f, h, placeAt(dst))
}

// fenced tells whether a packet passes the fence of the device, on the way to the host
// with its destination, and on the way from it with its source.
func (n network) fenced(device string, kind uint16, address, other netip.Addr) bool {
	row := n.fences[device]
	if len(row.Inside) == 0 {
		return !row.Localhost || kind != etherIPv4 || !address.IsLoopback() && !other.IsLoopback()
	}
	return slices.ContainsFunc(row.Inside, func(s netip.Prefix) bool { return s.Contains(address) }) ||
		address.IsMulticast() || address.Is6() && address.IsLinkLocalUnicast() || address.IsUnspecified() || address.String() == "255.255.255.255"
}

// addressAt is the source or the destination of an IP packet.
func addressAt(frame []byte, destination bool) netip.Addr {
	at, size := 14+12, 4
	if binary.BigEndian.Uint16(frame[12:]) == etherIPv6 {
		at, size = 14+8, 16
	}
	if destination {
		at += size
	}
	a, _ := netip.AddrFromSlice(frame[at : at+size])
	return a
}

// forThisHost is the choice of a way that leads inside.
func forThisHost(dst netip.Addr, device string) bool {
	switch {
	case dst.String() == "fe80::1":
		return strings.HasPrefix(device, "br-")
	}
	return isLocal(dst) || dst.String() == "255.255.255.255" || dst.String() == "224.0.0.1" || dst.String() == "ff02::1"
}

// masqueradeAt is the host's own address on the way to a place.
func masqueradeAt(to place, src netip.Addr) netip.Addr {
	if src.Is4() {
		return netip.MustParseAddr(hostOf(to.ip4, 24))
	}
	return netip.MustParseAddr(hostOf(to.ip6, 64))
}

// routed is the way through the host to another device.
func (n network) routed(f forged, h hop, to place) []string {
	src := addressAt(h.frame, false)
	elsewhere := to.device() != h.iif
	if to.name == "" || h.destination().IsLoopback() || elsewhere && src.Is6() && (src.IsUnspecified() || src.IsLinkLocalUnicast()) {
		return nil // ip6_forward looks at the source unless the packet goes back
	}
	h.oif = to.device()
	if n.run(unix.NFPROTO_INET, "forward", h) == verdictDrop {
		return nil
	}
	if to.bridge == "" {
		if h.state == 0 && n.run(unix.NFPROTO_INET, "postrouting", h) == verdictMasquerade {
			src = masqueradeAt(to, src)
		}
		n.left[f.id] = src
		return []string{to.name}
	}
	out := hop{frame: h.frame, oif: to.host, oifGroup: to.group()}
	if !n.fenced(h.oif, h.kind(), src, h.destination()) && len(n.fences[h.oif].Inside) > 0 ||
		n.run(unix.NFPROTO_BRIDGE, "output", out) == verdictDrop {
		return nil
	}
	return []string{to.name}
}
