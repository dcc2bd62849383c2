package firewalltest

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

const (
	vrrpMAC    = "00:00:5e:00:01:33" // RFC 5798, section 7.3
	floating4  = "10.1.0.200"
	floating6  = "fd01::200"
	outside4   = "203.0.113.9"
	outside6   = "2001:db8:99::9"
	privateLLA = "fe80::1234:5678"
)

// said is a trial of one frame that somebody sends to a2 on the same network.
type said struct {
	what   string
	frame  func(id int) []byte
	arrive bool
}

func trialsOf(from string, all []said) (out []trial) {
	for _, s := range all {
		out = append(out, trial{name: from + ": " + s.what, from: from, to: "a2", frame: s.frame, arrive: s.arrive})
	}
	return out
}

// Speaker makes frames of a place.
type Speaker struct{ Place }

// UDP is a datagram to a2, by the mark that it carries.
func (p Speaker) UDP(mac, src string, sport, dport uint16) func(int) []byte {
	dst := PlaceOf("a2").IP4
	if netip.MustParseAddr(src).Is6() {
		dst = PlaceOf("a2").IP6
	}
	return func(id int) []byte { return frames.Between(PlaceOf("a2").MAC, mac, src, dst).UDP(sport, dport, id) }
}

// From is a datagram to a2 from an address.
func (p Speaker) From(src string) func(int) []byte { return p.UDP(p.MAC, src, 4000, 4001) }

// ARP is a request (op 1) or an answer (2) to all.
func (p Speaker) ARP(op byte, mac, sender, target string) func(int) []byte {
	return func(id int) []byte { return frames.Between(frames.Broadcast, p.MAC, sender, target).ARP(op, mac, id) }
}

// Advert is a neighbour advertisement.
func (p Speaker) Advert(src, target string) func(int) []byte {
	return func(id int) []byte { return frames.Advert(p.MAC, src, target, id) }
}

// ICMP6 is a message to all nodes, its body zeros.
func (p Speaker) ICMP6(kind byte, src string, size int) func(int) []byte {
	return func(id int) []byte {
		return frames.Between(frames.AllNodes, p.MAC, src, "ff02::1").ICMP6(kind, make([]byte, size), id)
	}
}

// Raw is a frame of another EtherType, to all.
func (p Speaker) Raw(kind uint16, head ...byte) func(int) []byte {
	return func(id int) []byte {
		return frames.Ether(frames.Broadcast, p.MAC, kind, head, frames.Mark(id), make([]byte, 40))
	}
}

// capableTrials: a container with NET_ADMIN speaks for whom nobody else does.
func capableTrials() []trial {
	p, a1, b1 := Speaker{PlaceOf("cap")}, PlaceOf("a1"), PlaceOf("b1")
	bridge, own := p.GatewayMAC(), OwnLinkLocal(p.MAC)
	out := trialsOf("cap", []said{
		{"own address", p.From(p.IP4), true},
		{"floating address, IPv4", p.From(floating4), true},
		{"floating address, IPv6", p.From(floating6), true},
		{"privacy or SLAAC address on the link", p.From(privateLLA), true},
		{"VRRP's own MAC address", p.UDP(vrrpMAC, floating4, 1, 2), true},
		{"routed from another network, IPv4", p.From(b1.IP4), true},
		{"routed from another network, IPv6", p.From(b1.IP6), true},
		{"routed from outside, IPv4", p.From(outside4), true},
		{"routed from outside, IPv6", p.From(outside6), true},
		{"DHCP server", p.UDP(p.MAC, p.IP4, 67, 68), true},
		{"DHCPv6 server", p.UDP(p.MAC, own, 547, 546), true},
		{"DHCP client", p.UDP(p.MAC, noAddress, 68, 67), true},
		{"router advertisement", p.ICMP6(134, own, 12), true},
		{"redirect", p.ICMP6(137, own, 36), true},
		{"duplicate address detection", p.ICMP6(135, "::", 20), true},
		{"ARP for a floating address", p.ARP(2, p.MAC, floating4, floating4), true},
		{"ARP for a floating address with VRRP's MAC address", p.ARP(2, vrrpMAC, floating4, floating4), true},
		{"ARP probe for a neighbour's address", p.ARP(1, p.MAC, noAddress, a1.IP4), true},
		{"advertisement of a floating address", p.Advert(p.IP6, floating6), true},
		{"advertisement for an address of elsewhere", p.Advert(p.IP6, outside6), true},

		{"neighbour's MAC address", p.UDP(a1.MAC, floating4, 1, 2), false},
		{"bridge's MAC address", p.UDP(bridge, floating4, 1, 2), false},
		{"host's MAC address", p.UDP(UplinkMAC, floating4, 1, 2), false},
		{"neighbour's address, IPv4", p.From(a1.IP4), false},
		{"neighbour's address, IPv6", p.From(a1.IP6), false},
		{"neighbour's address on the link", p.From(OwnLinkLocal(a1.MAC)), false},
		{"gateway's address, IPv4", p.From(hostIP4), false},
		{"gateway's address, IPv6", p.From("fd01::1"), false},
		{"gateway's address on the link", p.From("fe80::1"), false},
		{"another gateway's address", p.From("10.2.0.1"), false},
		{"host's address, IPv4", p.From("192.0.2.1"), false},
		{"host's address, IPv6", p.From("2001:db8::1"), false},
		{"nobody's address, IPv4", p.From(noAddress), false},
		{"nobody's address, IPv6", p.From("::"), false},
		{"loopback address, IPv4", p.From("127.0.0.1"), false},
		{"loopback address, IPv6", p.From("::1"), false},
		{"group's address, IPv4", p.From("224.0.0.1"), false},
		{"everybody's address", p.From("255.255.255.255"), false},
		{"group's address, IPv6", p.From("ff02::1"), false},
		{"IPv4 address in IPv6", p.From("::ffff:10.1.0.11"), false},
		{"ARP for a neighbour", p.ARP(2, p.MAC, a1.IP4, a1.IP4), false},
		{"ARP for the gateway", p.ARP(2, p.MAC, hostIP4, hostIP4), false},
		{"ARP with a neighbour's MAC address", p.ARP(2, a1.MAC, floating4, floating4), false},
		{"ARP for a loopback address", p.ARP(2, p.MAC, "127.0.0.1", "127.0.0.1"), false},
		{"ARP for a group's address", p.ARP(2, p.MAC, "224.0.0.1", "224.0.0.1"), false},
		{"ARP of another form", p.Raw(frames.ARP, 0, 6, 8, 0, 6, 4, 0, 1), false},
		{"advertisement for a neighbour", p.Advert(p.IP6, a1.IP6), false},
		{"advertisement for the gateway", p.Advert(p.IP6, "fd01::1"), false},
		{"advertisement for the gateway on the link", p.Advert(own, "fe80::1"), false},
		{"router advertisement of the gateway", p.ICMP6(134, "fe80::1", 12), false},
		{"another protocol", p.Raw(frames.Test), false},
	})
	return slices.Concat(out, capableWays())
}

// capableWays are frames that leave the network of a container with NET_ADMIN.
func capableWays() []trial {
	cap, out, capi := PlaceOf("cap"), PlaceOf("out"), PlaceOf("capi")
	by := func(p Place, src, dst string) func(int) []byte {
		return func(id int) []byte { return frames.Between(p.GatewayMAC(), p.MAC, src, dst).UDP(5000, 5001, id) }
	}
	within := func(src string) func(int) []byte {
		return func(id int) []byte {
			return frames.Between(PlaceOf("i1").MAC, capi.MAC, src, PlaceOf("i1").IP4).UDP(5000, 5001, id)
		}
	}
	return []trial{
		{name: "cap: out from a floating address, IPv4", from: "cap", to: "out", frame: by(cap, floating4, out.IP4), arrive: true, source: "192.0.2.1"},
		{name: "cap: out from a floating address, IPv6", from: "cap", to: "out", frame: by(cap, floating6, out.IP6), arrive: true, source: "2001:db8::1"},
		{name: "cap: out from another network, IPv4", from: "cap", to: "out", frame: by(cap, PlaceOf("b1").IP4, out.IP4), arrive: true, source: "192.0.2.1"},
		{name: "cap: out from another network, IPv6", from: "cap", to: "out", frame: by(cap, PlaceOf("b1").IP6, out.IP6), arrive: true, source: "2001:db8::1"},
		{name: "cap: out from a forged address, IPv4", from: "cap", to: "out", frame: by(cap, outside4, out.IP4)},
		{name: "cap: out from a forged address, IPv6", from: "cap", to: "out", frame: by(cap, outside6, out.IP6)},
		{name: "cap: to another network", from: "cap", to: "b1", frame: by(cap, floating4, PlaceOf("b1").IP4)},
		{name: "capi: within an internal network", from: "capi", to: "i1", frame: within("10.3.0.200"), arrive: true},
		{name: "capi: out of an internal network, IPv4", from: "capi", to: "out", frame: by(capi, "10.3.0.200", out.IP4)},
		{name: "capi: out of an internal network, IPv6", from: "capi", to: "out", frame: by(capi, "fd03::200", out.IP6)},
		{name: "capi: out of an internal network from another", from: "capi", to: "out", frame: by(capi, "10.1.0.200", out.IP4)},
		{name: "capi: from an internal network to another", from: "capi", to: "a1", frame: by(capi, "10.3.0.200", PlaceOf("a1").IP4)},
	}
}

// uncheckedTrials: with port_security=off nobody looks, except at the border of an
// internal network and where containers are kept apart.
func uncheckedTrials() []trial {
	p, a1, q1, q2 := Speaker{PlaceOf("off")}, PlaceOf("a1"), PlaceOf("q1"), PlaceOf("q2")
	offi, offq := PlaceOf("offi"), PlaceOf("offq")
	out := trialsOf("off", []said{
		{"neighbour's address, IPv4", p.From(a1.IP4), true},
		{"neighbour's address, IPv6", p.From(a1.IP6), true},
		{"gateway's address", p.From(hostIP4), true},
		{"any MAC address", p.UDP(stranger, p.IP4, 1, 2), true},
		{"another protocol", p.Raw(frames.Test), true},
		{"ARP for a neighbour", p.ARP(2, p.MAC, a1.IP4, a1.IP4), true},
		{"router advertisement", p.ICMP6(134, linkLocal, 12), true},
	})
	apart := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return frames.Between(q1.MAC, offq.MAC, src, dst).UDP(5000, 6000, id) }
	}
	return append(out,
		trial{name: "offi: out of an internal network", from: "offi", to: "out", frame: func(id int) []byte {
			return frames.Between(offi.GatewayMAC(), offi.MAC, offi.IP4, PlaceOf("out").IP4).UDP(5000, 5001, id)
		}},
		trial{name: "offi: out of an internal network, from another's address", from: "offi", to: "out", frame: func(id int) []byte {
			return frames.Between(offi.GatewayMAC(), offi.MAC, a1.IP4, PlaceOf("out").IP4).UDP(5000, 5001, id)
		}},
		trial{name: "offq: icc=false", from: "offq", to: "q1", frame: apart(offq.IP4, q1.IP4)},
		trial{name: "offq: by another's link, IPv4", from: "offq", to: "q1", frame: apart(q2.IP4, q1.IP4)},
		trial{name: "offq: by another's link, IPv6", from: "offq", to: "q1", frame: apart(q2.IP6, q1.IP6)},
	)
}
