package firewalltest

import (
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// What a container may and may not say on its own link is sent by a1 and looked
// for at a2.
const (
	noAddress = "0.0.0.0"
	hostIP4   = "10.1.0.1"
	linkLocal = "fe80::ff:fe00:a01" // of a1's MAC address
	otherLink = "fe80::a1"
	stranger  = "02:00:00:00:0a:99"
)

func spoofTrials() []trial {
	out := slices.Concat(addressTrials(), arpTrials(), discoveryTrials(), protocolTrials())
	for i := range out {
		out[i].from, out[i].to = "a1", "a2"
	}
	return append(out, otherPortTrials()...)
}

func udpFromA1(mac, src, dst string, sport uint16) func(int) []byte {
	return func(id int) []byte { return frames.Between(PlaceOf("a2").MAC, mac, src, dst).UDP(sport, 2000, id) }
}

func arpFromA1(op byte, mac, sender, target string) func(int) []byte {
	return func(id int) []byte {
		return frames.Between(frames.Broadcast, PlaceOf("a1").MAC, sender, target).ARP(op, mac, id)
	}
}

func icmp6FromA1(kind byte, size int) func(int) []byte {
	return func(id int) []byte {
		return frames.Between(frames.AllNodes, PlaceOf("a1").MAC, linkLocal, "ff02::1").ICMP6(kind, make([]byte, size), id)
	}
}

func addressTrials() []trial {
	a1, a2, udp := PlaceOf("a1"), PlaceOf("a2"), udpFromA1
	return []trial{
		{name: "foreign MAC address", frame: udp(stranger, a1.IP4, a2.IP4, 1)},
		{name: "neighbour's MAC address", frame: udp(PlaceOf("manual").MAC, a1.IP6, a2.IP6, 1)},
		{name: "foreign IPv4 address", frame: udp(a1.MAC, PlaceOf("b1").IP4, a2.IP4, 1)},
		{name: "host's IPv4 address", frame: udp(a1.MAC, hostIP4, a2.IP4, 1)},
		{name: "no IPv4 address", frame: udp(a1.MAC, noAddress, a2.IP4, 68)},
		{name: "foreign IPv6 address", frame: udp(a1.MAC, PlaceOf("q1").IP6, a2.IP6, 1)},
		{name: "link-local IPv6 address", frame: udp(a1.MAC, linkLocal, a2.IP6, 1), arrive: true},
		{name: "another link-local IPv6 address", frame: udp(a1.MAC, otherLink, a2.IP6, 1)},
		{name: "gateway's link-local IPv6 address", frame: udp(a1.MAC, "fe80::1", a2.IP6, 1)},
		{name: "unspecified IPv6 address", frame: udp(a1.MAC, "::", a2.IP6, 1)},
	}
}

func arpTrials() []trial {
	a1, a2, arp := PlaceOf("a1"), PlaceOf("a2"), arpFromA1
	return []trial{
		{name: "ARP request", frame: arp(1, a1.MAC, a1.IP4, a2.IP4), arrive: true},
		{name: "ARP answer", frame: arp(2, a1.MAC, a1.IP4, a2.IP4), arrive: true},
		{name: "ARP for a neighbour's address", frame: arp(2, a1.MAC, a2.IP4, a2.IP4)},
		{name: "ARP for the gateway", frame: arp(1, a1.MAC, hostIP4, a2.IP4)},
		{name: "ARP with another's MAC address inside", frame: arp(2, stranger, a1.IP4, a2.IP4)},
		{name: "ARP probe for its own address", frame: arp(1, a1.MAC, noAddress, a1.IP4), arrive: true},
		{name: "ARP probe for a neighbour's address", frame: arp(1, a1.MAC, noAddress, a2.IP4)},
	}
}

func discoveryTrials() []trial {
	a1, a2 := PlaceOf("a1"), PlaceOf("a2")
	solicit := func(src, target string) func(int) []byte {
		return func(id int) []byte {
			body := append(make([]byte, 4), netip.MustParseAddr(target).AsSlice()...)
			return frames.Between("33:33:ff:00:00:11", a1.MAC, src, "ff02::1:ff00:11").ICMP6(135, body, id)
		}
	}
	advert := func(src, target string) func(int) []byte {
		return func(id int) []byte { return frames.Advert(a1.MAC, src, target, id) }
	}
	nobody := func(kind byte, size int) func(int) []byte {
		return func(id int) []byte {
			return frames.Between(frames.AllNodes, a1.MAC, "::", "ff02::1").ICMP6(kind, make([]byte, size), id)
		}
	}
	return []trial{
		{name: "neighbour solicitation", frame: solicit(a1.IP6, a2.IP6), arrive: true},
		{name: "duplicate address detection", frame: solicit("::", a1.IP6), arrive: true},
		{name: "duplicate address detection of the link-local address", frame: solicit("::", linkLocal), arrive: true},
		{name: "duplicate address detection of a neighbour's address", frame: solicit("::", a2.IP6)},
		{name: "neighbour solicitation from another link-local address", frame: solicit(otherLink, a2.IP6)},
		{name: "router solicitation from nobody", frame: nobody(133, 4)},
		{name: "group membership from nobody", frame: nobody(143, 4), arrive: true},
		{name: "group membership from nobody, first version", frame: nobody(131, 20), arrive: true},
		{name: "end of a group membership from nobody", frame: nobody(132, 20), arrive: true},
		{name: "neighbour advertisement", frame: advert(a1.IP6, a1.IP6), arrive: true},
		{name: "neighbour advertisement, link-local", frame: advert(linkLocal, linkLocal), arrive: true},
		{name: "neighbour advertisement for another link-local address", frame: advert(linkLocal, otherLink)},
		{name: "neighbour advertisement for the gateway's link-local address", frame: advert(linkLocal, "fe80::1")},
		{name: "neighbour advertisement for a neighbour", frame: advert(a1.IP6, a2.IP6)},
		{name: "neighbour advertisement for the gateway", frame: advert(linkLocal, "fd01::1")},
		{name: "router solicitation", frame: icmp6FromA1(133, 4), arrive: true},
		{name: "router advertisement", frame: icmp6FromA1(134, 12)},
		{name: "redirect", frame: icmp6FromA1(137, 36)},
	}
}

func protocolTrials() []trial {
	a1, a2 := PlaceOf("a1"), PlaceOf("a2")
	raw := func(kind uint16, head ...byte) func(int) []byte {
		return func(id int) []byte {
			return frames.Ether(frames.Broadcast, a1.MAC, kind, head, frames.Mark(id), make([]byte, 40))
		}
	}
	tagged := func(id int) []byte {
		inner := frames.Between(a2.MAC, a1.MAC, a1.IP4, a2.IP4).UDP(1, 2, id)
		return frames.Ether(a2.MAC, a1.MAC, frames.VLAN, []byte{0, 5}, inner[12:])
	}
	return []trial{
		{name: "DHCP server", frame: udpFromA1(a1.MAC, a1.IP4, a2.IP4, 67)},
		{name: "DHCPv6 server", frame: udpFromA1(a1.MAC, linkLocal, a2.IP6, 547)},
		{name: "VLAN tag", frame: tagged},
		{name: "unknown protocol", frame: raw(frames.Test)},
		{name: "ARP for another kind of link", frame: raw(frames.ARP, 0, 6, 8, 0, 6, 4, 0, 1)},
	}
}

func otherPortTrials() []trial {
	a1, a2, q1 := PlaceOf("a1"), PlaceOf("a2"), PlaceOf("q1")
	return []trial{
		{name: "broadcast, to a port without policy", from: "a1", to: "dead", frame: arpFromA1(1, a1.MAC, a1.IP4, a2.IP4)},
		{name: "icc=false, ARP", from: "q1", to: "q2", arrive: true, frame: func(id int) []byte {
			return frames.Between(frames.Broadcast, q1.MAC, q1.IP4, PlaceOf("q2").IP4).ARP(1, q1.MAC, id)
		}},
		{name: "foreign port, any address", from: "manual", to: "a2", arrive: true, frame: func(id int) []byte {
			return frames.Between(a2.MAC, stranger, PlaceOf("b1").IP4, a2.IP4).UDP(1, 2, id)
		}},
	}
}
