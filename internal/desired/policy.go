package desired

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/linkspan/linkspan/internal/model"
)

// BridgePolicy is the policy of a bridge network as a whole: traffic crosses its
// border only where another policy allows it.
type BridgePolicy struct {
	Bridge   string
	Internal bool // no way in or out
	ICC      bool // its containers may talk to one another
	// Direct4 and Direct6 say that what others of the host accept may come to containers'
	// own addresses too (--allow-direct-routing, gateway modes nat-unprotected and
	// routed). Otherwise a firewall in which an accept of somebody else's is final, as
	// that of DOCKER-USER, drops it before it is asked.
	Direct4, Direct6 bool
}

func (r BridgePolicy) Key() Key      { return key(KindPolicy, "bridge", r.Bridge) }
func (r BridgePolicy) Space() string { return HostNamespace }

func (r BridgePolicy) String() string {
	s := fmt.Sprintf("policy bridge %s internal=%t icc=%t", r.Bridge, r.Internal, r.ICC)
	if r.Direct4 {
		s += " direct4"
	}
	if r.Direct6 {
		s += " direct6"
	}
	return s
}

// AcceptMark lets packets into every network that is not internal whose mark (packet
// mark, nft(8): meta mark) is Mark in the bits of Mask (--bridge-accept-fwmark). It does
// not overrule icc=false, nor who may claim which source.
type AcceptMark struct {
	Mark, Mask uint32
}

func (r AcceptMark) Key() Key      { return key(KindPolicy, "accept-mark") }
func (r AcceptMark) Space() string { return HostNamespace }

func (r AcceptMark) String() string {
	return fmt.Sprintf("policy accept-mark %#x/%#x", r.Mark, r.Mask)
}

// Masquerade lets traffic from Subnet leave the host under the host's own
// address: the one that the route names, or Source if that is set.
type Masquerade struct {
	Bridge string
	Subnet netip.Prefix
	Source netip.Addr
}

func (r Masquerade) Key() Key      { return key(KindPolicy, "masquerade", r.Subnet.String()) }
func (r Masquerade) Space() string { return HostNamespace }

func (r Masquerade) String() string {
	if r.Source.IsValid() {
		return fmt.Sprintf("policy masquerade %s from %s as %s", r.Subnet, r.Bridge, r.Source)
	}
	return fmt.Sprintf("policy masquerade %s from %s", r.Subnet, r.Bridge)
}

// ForwardDrop is the policy of the host, by family: packets between two interfaces of
// which neither is ours are not forwarded, as with a FORWARD policy of DROP.
type ForwardDrop struct {
	IPv4, IPv6 bool
}

func (r ForwardDrop) Key() Key      { return key(KindPolicy, "forward-drop") }
func (r ForwardDrop) Space() string { return HostNamespace }

func (r ForwardDrop) String() string {
	return fmt.Sprintf("policy forward-drop ipv4=%t ipv6=%t", r.IPv4, r.IPv6)
}

// Direct lets traffic from outside reach container ports at the container's own
// address, without any translation. With First 0 it stands for all protocols
// and ports; Protocol is empty then.
type Direct struct {
	Bridge      string
	Addr        netip.Addr
	Protocol    model.Protocol
	First, Last uint16
}

func (r Direct) Key() Key {
	return key(KindPolicy, "direct", r.Addr.String(), string(r.Protocol), strconv.Itoa(int(r.First)))
}

func (r Direct) Space() string { return HostNamespace }

func (r Direct) String() string {
	if r.First == 0 {
		return fmt.Sprintf("policy direct %s on %s", r.Addr, r.Bridge)
	}
	return fmt.Sprintf("policy direct %s %s on %s", r.Protocol, hostPorts(r.Addr, r.First, r.Last), r.Bridge)
}

// DirectFrom is Direct for what comes in by one interface only.
type DirectFrom struct {
	Interface string
	Direct    Direct
}

func (r DirectFrom) Key() Key {
	return key(KindPolicy, "direct-from", r.Interface, r.Direct.Key().Name)
}

func (r DirectFrom) Space() string { return HostNamespace }

func (r DirectFrom) String() string { return r.Direct.String() + " from " + r.Interface }

// DirectICMP lets ICMP from outside reach a container's own address: pings, and
// the errors that routers send (RFC 792, RFC 4443).
type DirectICMP struct {
	Bridge string
	Addr   netip.Addr
}

func (r DirectICMP) Key() Key      { return key(KindPolicy, "direct-icmp", r.Addr.String()) }
func (r DirectICMP) Space() string { return HostNamespace }

func (r DirectICMP) String() string {
	return fmt.Sprintf("policy direct icmp %s on %s", r.Addr, r.Bridge)
}

// Allow lets one container open connections to ports of another on the same
// bridge, though its network keeps containers apart (icc=false), and lets the
// answers back.
type Allow struct {
	Bridge      string
	From, To    netip.Addr // of one family
	Protocol    model.Protocol
	First, Last uint16
}

func (r Allow) Key() Key {
	return key(KindPolicy, "allow", r.From.String(), r.To.String(), string(r.Protocol), strconv.Itoa(int(r.First)))
}

func (r Allow) Space() string { return HostNamespace }

func (r Allow) String() string {
	return fmt.Sprintf("policy allow %s %s to %s on %s", r.Protocol, r.From, hostPorts(r.To, r.First, r.Last), r.Bridge)
}

// Fence is what holds at a bridge whatever becomes of the firewall's tables: the kernel
// drops it between the bridge and the host's stack. There, a rule of the firewall says
// the same; a Fence is for what must not depend on a rule.
type Fence struct {
	Link string
	// Localhost lets what the host sends to its own 127.0.0.0/8 be led to the network
	// (kernel: ip-sysctl, route_localnet), while nobody there may use such addresses:
	// the one is never without the other. It is never set where the kernel cannot do
	// both.
	Localhost bool
	// Closed lets nothing pass, of whatever protocol: the host is not on the network.
	Closed bool
	// Inside, if there are any, are the subnets that IP packets from the network must go
	// to, and that those into it must come from, apart from what is for the link alone.
	Inside []netip.Prefix
}

func (r Fence) Key() Key      { return key(KindFence, r.Link) }
func (r Fence) Space() string { return HostNamespace }

func (r Fence) String() string {
	s := "fence " + r.Link
	if r.Localhost {
		s += " localhost"
	}
	if r.Closed {
		s += " closed"
	}
	if len(r.Inside) > 0 {
		s += fmt.Sprintf(" inside %v", r.Inside)
	}
	return s
}

// Transparent has what a bridge's containers answer to a transparent socket of this host
// (ip(7), IP_TRANSPARENT) bear TransparentMark: it is addressed to a client elsewhere,
// under whose address the socket speaks. A Rule delivers it.
type Transparent struct {
	Bridge string
}

func (r Transparent) Key() Key      { return key(KindPolicy, "transparent", r.Bridge) }
func (r Transparent) Space() string { return HostNamespace }

func (r Transparent) String() string { return "policy transparent " + r.Bridge }

// TransparentMark is the bit of a packet's mark that a Transparent sets.
const TransparentMark uint32 = 1 << 26

// AnswerMark is the bit of a packet's mark that says that an address in it is connection
// tracking's work and nobody's claim: the firewall tells a Fence so. A packet that comes
// out of a container has no mark.
const AnswerMark uint32 = 1 << 27
