package firewalltest

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// trial is one frame from one place, and whether it gets to another.
type trial struct {
	name   string
	from   string
	to     string
	frame  func(id int) []byte
	arrive bool
	source string // that the receiver sees, if arrive and it matters
	state  uint32 // of the connection, for the tracer
	port   uint16 // that the receiver sees, of a published one
	// With br_netfilter, a translated packet for its own network is bridged.
	trueIfBridged bool
}

// expect is what a trial says for hosts with and without br_netfilter.
func (c trial) expect(bridgeNetfilter bool) trial {
	if bridgeNetfilter && c.trueIfBridged {
		c.source = ""
	}
	return c
}

// PlaceOf is the place of that name.
func PlaceOf(name string) Place {
	for _, p := range Places() {
		if p.Name == name {
			return p
		}
	}
	panic("no such place: " + name)
}

// udpTrials sends one datagram in each family, to the neighbour's MAC address
// if the two share a bridge, else to the host's.
func udpTrials(what, from, to string, arrive bool) []trial {
	dst := PlaceOf(to).MAC
	if PlaceOf(from).Bridge == "" || PlaceOf(from).Bridge != PlaceOf(to).Bridge {
		dst = PlaceOf(from).GatewayMAC()
	}
	return udpVia(what, dst, from, to, arrive)
}

func udpVia(what, mac, from, to string, arrive bool) []trial {
	f, t := PlaceOf(from), PlaceOf(to)
	return []trial{
		{name: what + ", IPv4", from: from, to: to, arrive: arrive, frame: func(id int) []byte {
			return frames.Between(mac, f.MAC, f.IP4, t.IP4).UDP(1000, uint16(2000+id), id)
		}},
		{name: what + ", IPv6", from: from, to: to, arrive: arrive, frame: func(id int) []byte {
			return frames.Between(mac, f.MAC, f.IP6, t.IP6).UDP(1000, uint16(2000+id), id)
		}},
	}
}

func borderTrials(guard bool) []trial {
	var out []trial
	for _, t := range [][]trial{
		udpTrials("same network", "a1", "a2", true),
		udpVia("same network, through the gateway", PlaceOf("a1").GatewayMAC(), "a1", "a2", true),
		udpTrials("to another network", "a1", "b1", false),
		udpTrials("unpublished port, direct route", "out", "a1", false),
		udpTrials("within an internal network", "i1", "i2", true),
		udpTrials("out of an internal network", "i1", "out", false),
		udpTrials("into an internal network", "out", "i1", false),
		udpTrials("from a network to an internal one", "a1", "i1", false),
		udpTrials("from an internal network to another", "i1", "a1", false),
		udpTrials("icc=false", "q1", "q2", false),
		udpVia("icc=false, through the gateway", PlaceOf("q1").GatewayMAC(), "q1", "q2", false),
		udpTrials("to a port without policy", "a1", "dead", false),
		udpTrials("from a port without policy", "dead", "a2", false),
		udpTrials("to a port without policy, routed", "out", "dead", false),
		udpTrials("to a foreign port", "a1", "manual", true),
		udpTrials("from a foreign port", "manual", "a1", true),
		udpTrials("between foreign interfaces", "out", "far", !guard),
		masqueraded(udpTrials("out of a network", "a1", "out", true)),
		masqueraded(elsewhereTrials()),
		masqueraded(udpTrials("out of a network, icc=false", "q1", "out", true)),
		seenAs(chosen["br-b4"], chosen["br-b6"], udpTrials("out of a network, under a chosen address", "b1", "out", true)),
	} {
		out = append(out, t...)
	}
	return out
}

// elsewhereTrials leave by one network under an address of another, which a container
// may use if it has it.
func elsewhereTrials() []trial {
	a1, out := PlaceOf("a1"), PlaceOf("out")
	from := func(src, dst string) func(int) []byte {
		return func(id int) []byte {
			return frames.Between(a1.GatewayMAC(), a1.MAC, src, dst).UDP(1000, uint16(2000+id), id)
		}
	}
	return []trial{
		{name: "under an address elsewhere, IPv4", from: "a1", to: "out", arrive: true, frame: from(Elsewhere4, out.IP4)},
		{name: "under an address elsewhere, IPv6", from: "a1", to: "out", arrive: true, frame: from(Elsewhere6, out.IP6)},
	}
}

func masqueraded(trials []trial) []trial {
	return seenAs(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), trials)
}

func seenAs(ip4, ip6 netip.Addr, trials []trial) []trial {
	trials[0].source, trials[1].source = ip4.String(), ip6.String()
	return trials
}

// leaves tells whether a packet leaves as the trial has it, under some address of
// the host or under the one that was chosen.
func (c trial) leaves(v Verdict, as netip.AddrPort) bool {
	isChosen := c.source == chosen["br-b4"].String() || c.source == chosen["br-b6"].String()
	switch v {
	case Masquerade:
		return !isChosen
	case Translate:
		return c.source == "" || c.source == as.Addr().String()
	}
	return false
}

// answerTrials come after a query of the same flow was let through.
func answerTrials() []trial {
	a1, out := PlaceOf("a1"), PlaceOf("out")
	query := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return frames.Between(a1.GatewayMAC(), a1.MAC, src, dst).UDP(3000, 53, id) }
	}
	answer := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return frames.Between(UplinkMAC, out.MAC, src, dst).UDP(53, 3000, id) }
	}
	const established = StateEstablished
	return []trial{
		{name: "query, IPv4", from: "a1", to: "out", arrive: true, frame: query(a1.IP4, out.IP4), source: "192.0.2.1"},
		{name: "query, IPv6", from: "a1", to: "out", arrive: true, frame: query(a1.IP6, out.IP6), source: "2001:db8::1"},
		{name: "answer, IPv4", from: "out", to: "a1", arrive: true, frame: answer(out.IP4, "192.0.2.1"), state: established},
		{name: "answer, IPv6", from: "out", to: "a1", arrive: true, frame: answer(out.IP6, "2001:db8::1"), state: established},
	}
}

// strayTrials are of no connection, so that nothing gives them the host's address, and
// frames to groups that no bridge forwards to.
func strayTrials() []trial {
	a1, a2, out := PlaceOf("a1"), PlaceOf("a2"), PlaceOf("out")
	segment := func(flags byte, src, dst string) func(int) []byte {
		return func(id int) []byte {
			return frames.Between(a1.GatewayMAC(), a1.MAC, src, dst).TCP([2]uint16{4000, 80}, flags, id)
		}
	}
	echoReply := func(id int) []byte {
		f := frames.Between(a1.GatewayMAC(), a1.MAC, a1.IP4, out.IP4).Echo(id)
		f[14+20], f[14+22], f[14+23] = 0, 0, 0
		binary.BigEndian.PutUint16(f[14+22:], frames.Checksum(f[14+20:]))
		return f
	}
	group := func(last string, src, dst string) func(int) []byte {
		return func(id int) []byte { return frames.Between("01:80:c2:00:00:"+last, a1.MAC, src, dst).UDP(1, 2, id) }
	}
	const invalid = StateInvalid
	return []trial{
		{name: "RST of no connection, IPv4", from: "a1", to: "out", frame: segment(frames.RST, a1.IP4, out.IP4), state: invalid},
		{name: "RST of no connection, IPv6", from: "a1", to: "out", frame: segment(frames.RST, a1.IP6, out.IP6), state: invalid},
		{name: "FIN of no connection, IPv4", from: "a1", to: "out", frame: segment(frames.FIN|frames.ACK, a1.IP4, out.IP4), state: invalid},
		{name: "echo reply that nobody waits for", from: "a1", to: "out", frame: echoReply, state: invalid},
		{name: "neighbour discovery, routed", from: "a1", to: "out", state: StateUntracked, frame: func(id int) []byte {
			return frames.Between(a1.GatewayMAC(), a1.MAC, a1.IP6, out.IP6).ICMP6(135, make([]byte, 20), id)
		}},
		{name: "link-local source, routed", from: "a1", to: "out", frame: func(id int) []byte {
			return frames.Between(a1.GatewayMAC(), a1.MAC, OnLink4, out.IP4).UDP(1, 2, id)
		}},
		{name: "LLDP's group, IPv4", from: "a1", to: "a2", frame: group("0e", a1.IP4, a2.IP4)},
		{name: "LACP's group, IPv6", from: "a1", to: "a2", frame: group("02", a1.IP6, a2.IP6)},
		{name: "spanning tree's group, IPv4", from: "a1", to: "a2", frame: group("00", a1.IP4, a2.IP4)},
	}
}

func trials(guard bool) []trial {
	return slices.Concat(borderTrials(guard), spoofTrials(), answerTrials(), strayTrials(), portTrials(), linkTrials(), capableTrials(), uncheckedTrials())
}
