package firewalltest

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// Hook is a place in the kernel where rules are asked.
type Hook string

// The hooks on the way of a frame through the host. Those of bridges are the hooks of family bridge;
// BridgeForwardLate are the chains of its hook forward behind br_netfilter (priority 0).
// The others are hooks of families ip, ip6 and inet, by the frame's: Prerouting, Input,
// Forward and Output are all chains but those of type nat, and the Translate hooks are those.
const (
	BridgePrerouting     Hook = "bridge prerouting"
	BridgeForward        Hook = "bridge forward"
	BridgeForwardLate    Hook = "bridge forward, late"
	BridgeInput          Hook = "bridge input"
	BridgeOutput         Hook = "bridge output"
	Prerouting           Hook = "prerouting"
	TranslateDestination Hook = "prerouting, nat"
	Input                Hook = "input"
	TranslateOutput      Hook = "output, nat"
	Output               Hook = "output"
	Forward              Hook = "forward"
	TranslateSource      Hook = "postrouting, nat"
)

// Verdict is what rules make of a packet.
type Verdict string

// The verdicts. Accept is also what no rule says anything about, where the policy is so.
const (
	Accept     Verdict = "accept"
	Drop       Verdict = "drop"
	Masquerade Verdict = "masquerade"
	Translate  Verdict = "translate" // to Hop.To
	None       Verdict = ""
)

// Model says what becomes of a packet at a hook, by the rules of a backend.
type Model interface {
	Run(at Hook, h Hop) Verdict
}

// States of connections, as the kernel numbers them (linux/netfilter/nf_conntrack_common.h).
const (
	StateInvalid     = 1  // NF_CT_STATE_INVALID_BIT
	StateEstablished = 2  // NF_CT_STATE_BIT(IP_CT_ESTABLISHED)
	StateNew         = 8  // NF_CT_STATE_BIT(IP_CT_NEW)
	StateUntracked   = 64 // NF_CT_STATE_UNTRACKED_BIT
)

// Hop is one frame at one hook.
type Hop struct {
	Frame             []byte
	In, Out           string // interfaces, where the hook knows them
	InGroup, OutGroup uint32
	State             uint32          // of its connection; 0 is new
	First             []byte          // the connection's first frame before translation, if that took place
	To                *netip.AddrPort // is filled: where Translate takes it; port 0 for its own
	Mark              *uint32         // is filled: the packet's mark
}

// Kind is the frame's EtherType.
func (h Hop) Kind() uint16 { return frames.Kind(h.Frame) }

// Source of an IP packet.
func (h Hop) Source() netip.Addr { return frames.Source(h.Frame) }

// Destination of an IP packet. It is also its next hop: no trial goes farther than to a
// neighbour.
func (h Hop) Destination() netip.Addr { return frames.Destination(h.Frame) }

// DestinationType is what the destination is to the host, an RTN_* number; or to it by
// the incoming interface alone.
func (h Hop) DestinationType(here bool) uint32 {
	dst := h.Destination()
	switch {
	case dst.IsMulticast():
		return unix.RTN_MULTICAST
	case dst.String() == "255.255.255.255":
		return unix.RTN_BROADCAST
	case dst.String() == "fe80::1":
		return unix.RTN_LOCAL
	case IsLocal(dst) && (!here || deviceOf(dst) == h.In):
		return unix.RTN_LOCAL
	}
	return unix.RTN_UNICAST
}

// HasWayBack tells whether what answers the packet leaves by the interface that it came
// in by. All networks of the trials are /24 and /64.
func (h Hop) HasWayBack() bool {
	source := h.Source()
	bits := 24
	if source.Is6() {
		bits = 64
	}
	for _, p := range Places() {
		for _, a := range []string{p.IP4, p.IP6} {
			if p.Device() == h.In && netip.PrefixFrom(source, bits).Contains(netip.MustParseAddr(a)) {
				return true
			}
		}
	}
	return false
}

// deviceOf is the device that has an address of the host.
func deviceOf(a netip.Addr) string {
	for _, p := range Places() {
		if a.String() == HostOf(p.IP4, 24) || a.String() == HostOf(p.IP6, 64) {
			return p.Device()
		}
	}
	return "lo"
}
