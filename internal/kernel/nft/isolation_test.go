package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
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

func placeOf(name string) place {
	for _, p := range places() {
		if p.name == name {
			return p
		}
	}
	panic("no such place: " + name)
}

// udpTrials sends one datagram in each family, to the neighbour's MAC address
// if the two share a bridge, else to the host's.
func udpTrials(what, from, to string, arrive bool) []trial {
	dst := placeOf(to).mac
	if placeOf(from).bridge == "" || placeOf(from).bridge != placeOf(to).bridge {
		dst = placeOf(from).gatewayMAC()
	}
	return udpVia(what, dst, from, to, arrive)
}

func udpVia(what, mac, from, to string, arrive bool) []trial {
	f, t := placeOf(from), placeOf(to)
	return []trial{
		{name: what + ", IPv4", from: from, to: to, arrive: arrive, frame: func(id int) []byte {
			return udpFrame(mac, f.mac, f.ip4, t.ip4, 1000, uint16(2000+id), id)
		}},
		{name: what + ", IPv6", from: from, to: to, arrive: arrive, frame: func(id int) []byte {
			return udpFrame(mac, f.mac, f.ip6, t.ip6, 1000, uint16(2000+id), id)
		}},
	}
}

func borderTrials(guard bool) []trial {
	var out []trial
	for _, t := range [][]trial{
		udpTrials("same network", "a1", "a2", true),
		udpVia("same network, through the gateway", placeOf("a1").gatewayMAC(), "a1", "a2", true),
		udpTrials("to another network", "a1", "b1", false),
		udpTrials("unpublished port, direct route", "out", "a1", false),
		udpTrials("within an internal network", "i1", "i2", true),
		udpTrials("out of an internal network", "i1", "out", false),
		udpTrials("into an internal network", "out", "i1", false),
		udpTrials("from a network to an internal one", "a1", "i1", false),
		udpTrials("from an internal network to another", "i1", "a1", false),
		udpTrials("icc=false", "q1", "q2", false),
		udpVia("icc=false, through the gateway", placeOf("q1").gatewayMAC(), "q1", "q2", false),
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
	a1, out := placeOf("a1"), placeOf("out")
	from := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return udpFrame(a1.gatewayMAC(), a1.mac, src, dst, 1000, uint16(2000+id), id) }
	}
	return []trial{
		{name: "under an address elsewhere, IPv4", from: "a1", to: "out", arrive: true, frame: from(elsewhere4, out.ip4)},
		{name: "under an address elsewhere, IPv6", from: "a1", to: "out", arrive: true, frame: from(elsewhere6, out.ip6)},
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
func (c trial) leaves(v verdict, as netip.AddrPort) bool {
	isChosen := c.source == chosen["br-b4"].String() || c.source == chosen["br-b6"].String()
	switch v {
	case verdictMasquerade:
		return !isChosen
	case verdictTranslate:
		return c.source == "" || c.source == as.Addr().String()
	}
	return false
}

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
	return func(id int) []byte { return udpFrame(placeOf("a2").mac, mac, src, dst, sport, 2000, id) }
}

func arpFromA1(op byte, mac, sender, target string) func(int) []byte {
	return func(id int) []byte { return arpFrame(broadcastMAC, placeOf("a1").mac, op, mac, sender, target, id) }
}

func icmp6FromA1(kind byte, size int) func(int) []byte {
	return func(id int) []byte {
		return icmp6Frame(allNodesMAC, placeOf("a1").mac, linkLocal, "ff02::1", kind, make([]byte, size), id)
	}
}

func addressTrials() []trial {
	a1, a2, udp := placeOf("a1"), placeOf("a2"), udpFromA1
	return []trial{
		{name: "foreign MAC address", frame: udp(stranger, a1.ip4, a2.ip4, 1)},
		{name: "neighbour's MAC address", frame: udp(placeOf("manual").mac, a1.ip6, a2.ip6, 1)},
		{name: "foreign IPv4 address", frame: udp(a1.mac, placeOf("b1").ip4, a2.ip4, 1)},
		{name: "host's IPv4 address", frame: udp(a1.mac, hostIP4, a2.ip4, 1)},
		{name: "no IPv4 address", frame: udp(a1.mac, noAddress, a2.ip4, 68)},
		{name: "foreign IPv6 address", frame: udp(a1.mac, placeOf("q1").ip6, a2.ip6, 1)},
		{name: "link-local IPv6 address", frame: udp(a1.mac, linkLocal, a2.ip6, 1), arrive: true},
		{name: "another link-local IPv6 address", frame: udp(a1.mac, otherLink, a2.ip6, 1)},
		{name: "gateway's link-local IPv6 address", frame: udp(a1.mac, "fe80::1", a2.ip6, 1)},
		{name: "unspecified IPv6 address", frame: udp(a1.mac, "::", a2.ip6, 1)},
	}
}

func arpTrials() []trial {
	a1, a2, arp := placeOf("a1"), placeOf("a2"), arpFromA1
	return []trial{
		{name: "ARP request", frame: arp(1, a1.mac, a1.ip4, a2.ip4), arrive: true},
		{name: "ARP answer", frame: arp(2, a1.mac, a1.ip4, a2.ip4), arrive: true},
		{name: "ARP for a neighbour's address", frame: arp(2, a1.mac, a2.ip4, a2.ip4)},
		{name: "ARP for the gateway", frame: arp(1, a1.mac, hostIP4, a2.ip4)},
		{name: "ARP with another's MAC address inside", frame: arp(2, stranger, a1.ip4, a2.ip4)},
		{name: "ARP probe for its own address", frame: arp(1, a1.mac, noAddress, a1.ip4), arrive: true},
		{name: "ARP probe for a neighbour's address", frame: arp(1, a1.mac, noAddress, a2.ip4)},
	}
}

func discoveryTrials() []trial {
	a1, a2 := placeOf("a1"), placeOf("a2")
	solicit := func(src, target string) func(int) []byte {
		return func(id int) []byte {
			body := append(make([]byte, 4), netip.MustParseAddr(target).AsSlice()...)
			return icmp6Frame("33:33:ff:00:00:11", a1.mac, src, "ff02::1:ff00:11", 135, body, id)
		}
	}
	advert := func(src, target string) func(int) []byte {
		return func(id int) []byte { return advertFrame(a1.mac, src, target, id) }
	}
	nobody := func(kind byte, size int) func(int) []byte {
		return func(id int) []byte {
			return icmp6Frame(allNodesMAC, a1.mac, "::", "ff02::1", kind, make([]byte, size), id)
		}
	}
	return []trial{
		{name: "neighbour solicitation", frame: solicit(a1.ip6, a2.ip6), arrive: true},
		{name: "duplicate address detection", frame: solicit("::", a1.ip6), arrive: true},
		{name: "duplicate address detection of the link-local address", frame: solicit("::", linkLocal), arrive: true},
		{name: "duplicate address detection of a neighbour's address", frame: solicit("::", a2.ip6)},
		{name: "neighbour solicitation from another link-local address", frame: solicit(otherLink, a2.ip6)},
		{name: "router solicitation from nobody", frame: nobody(133, 4)},
		{name: "group membership from nobody", frame: nobody(143, 4), arrive: true},
		{name: "group membership from nobody, first version", frame: nobody(131, 20), arrive: true},
		{name: "end of a group membership from nobody", frame: nobody(132, 20), arrive: true},
		{name: "neighbour advertisement", frame: advert(a1.ip6, a1.ip6), arrive: true},
		{name: "neighbour advertisement, link-local", frame: advert(linkLocal, linkLocal), arrive: true},
		{name: "neighbour advertisement for another link-local address", frame: advert(linkLocal, otherLink)},
		{name: "neighbour advertisement for the gateway's link-local address", frame: advert(linkLocal, "fe80::1")},
		{name: "neighbour advertisement for a neighbour", frame: advert(a1.ip6, a2.ip6)},
		{name: "neighbour advertisement for the gateway", frame: advert(linkLocal, "fd01::1")},
		{name: "router solicitation", frame: icmp6FromA1(133, 4), arrive: true},
		{name: "router advertisement", frame: icmp6FromA1(134, 12)},
		{name: "redirect", frame: icmp6FromA1(137, 36)},
	}
}

func protocolTrials() []trial {
	a1, a2 := placeOf("a1"), placeOf("a2")
	raw := func(kind uint16, head ...byte) func(int) []byte {
		return func(id int) []byte { return ether(broadcastMAC, a1.mac, kind, head, mark(id), make([]byte, 40)) }
	}
	tagged := func(id int) []byte {
		inner := udpFrame(a2.mac, a1.mac, a1.ip4, a2.ip4, 1, 2, id)
		return ether(a2.mac, a1.mac, etherVLAN, []byte{0, 5}, inner[12:])
	}
	return []trial{
		{name: "DHCP server", frame: udpFromA1(a1.mac, a1.ip4, a2.ip4, 67)},
		{name: "DHCPv6 server", frame: udpFromA1(a1.mac, linkLocal, a2.ip6, 547)},
		{name: "VLAN tag", frame: tagged},
		{name: "unknown protocol", frame: raw(etherTest)},
		{name: "ARP for another kind of link", frame: raw(etherARP, 0, 6, 8, 0, 6, 4, 0, 1)},
	}
}

func otherPortTrials() []trial {
	a1, a2, q1 := placeOf("a1"), placeOf("a2"), placeOf("q1")
	return []trial{
		{name: "broadcast, to a port without policy", from: "a1", to: "dead", frame: arpFromA1(1, a1.mac, a1.ip4, a2.ip4)},
		{name: "icc=false, ARP", from: "q1", to: "q2", arrive: true, frame: func(id int) []byte {
			return arpFrame(broadcastMAC, q1.mac, 1, q1.mac, q1.ip4, placeOf("q2").ip4, id)
		}},
		{name: "foreign port, any address", from: "manual", to: "a2", arrive: true, frame: func(id int) []byte {
			return udpFrame(a2.mac, stranger, placeOf("b1").ip4, a2.ip4, 1, 2, id)
		}},
	}
}

// answerTrials come after a query of the same flow was let through.
func answerTrials() []trial {
	a1, out := placeOf("a1"), placeOf("out")
	query := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return udpFrame(a1.gatewayMAC(), a1.mac, src, dst, 3000, 53, id) }
	}
	answer := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return udpFrame(uplinkMAC, out.mac, src, dst, 53, 3000, id) }
	}
	const established = expr.CtStateBitESTABLISHED
	return []trial{
		{name: "query, IPv4", from: "a1", to: "out", arrive: true, frame: query(a1.ip4, out.ip4), source: "192.0.2.1"},
		{name: "query, IPv6", from: "a1", to: "out", arrive: true, frame: query(a1.ip6, out.ip6), source: "2001:db8::1"},
		{name: "answer, IPv4", from: "out", to: "a1", arrive: true, frame: answer(out.ip4, "192.0.2.1"), state: established},
		{name: "answer, IPv6", from: "out", to: "a1", arrive: true, frame: answer(out.ip6, "2001:db8::1"), state: established},
	}
}

// strayTrials are of no connection, so that nothing gives them the host's address, and
// frames to groups that no bridge forwards to.
func strayTrials() []trial {
	a1, a2, out := placeOf("a1"), placeOf("a2"), placeOf("out")
	segment := func(flags byte, src, dst string) func(int) []byte {
		return func(id int) []byte {
			return tcpFrame(a1.gatewayMAC(), a1.mac, src, dst, [2]uint16{4000, 80}, flags, id)
		}
	}
	echoReply := func(id int) []byte {
		f := echoFrame(a1.gatewayMAC(), a1.mac, a1.ip4, out.ip4, id)
		f[14+20], f[14+22], f[14+23] = 0, 0, 0
		binary.BigEndian.PutUint16(f[14+22:], checksum(f[14+20:]))
		return f
	}
	group := func(last string, src, dst string) func(int) []byte {
		return func(id int) []byte { return udpFrame("01:80:c2:00:00:"+last, a1.mac, src, dst, 1, 2, id) }
	}
	const invalid = expr.CtStateBitINVALID
	return []trial{
		{name: "RST of no connection, IPv4", from: "a1", to: "out", frame: segment(tcpRST, a1.ip4, out.ip4), state: invalid},
		{name: "RST of no connection, IPv6", from: "a1", to: "out", frame: segment(tcpRST, a1.ip6, out.ip6), state: invalid},
		{name: "FIN of no connection, IPv4", from: "a1", to: "out", frame: segment(tcpFIN|tcpACK, a1.ip4, out.ip4), state: invalid},
		{name: "echo reply that nobody waits for", from: "a1", to: "out", frame: echoReply, state: invalid},
		{name: "neighbour discovery, routed", from: "a1", to: "out", state: stateUntracked, frame: func(id int) []byte {
			return icmp6Frame(a1.gatewayMAC(), a1.mac, a1.ip6, out.ip6, 135, make([]byte, 20), id)
		}},
		{name: "link-local source, routed", from: "a1", to: "out", frame: func(id int) []byte {
			return udpFrame(a1.gatewayMAC(), a1.mac, onLink4, out.ip4, 1, 2, id)
		}},
		{name: "LLDP's group, IPv4", from: "a1", to: "a2", frame: group("0e", a1.ip4, a2.ip4)},
		{name: "LACP's group, IPv6", from: "a1", to: "a2", frame: group("02", a1.ip6, a2.ip6)},
		{name: "spanning tree's group, IPv4", from: "a1", to: "a2", frame: group("00", a1.ip4, a2.ip4)},
	}
}

func trials(guard bool) []trial {
	return slices.Concat(borderTrials(guard), spoofTrials(), answerTrials(), strayTrials(), portTrials(), linkTrials(), capableTrials(), uncheckedTrials())
}

// TestIsolation sends every trial's frame for real, with br_netfilter off and
// on, and asks the tracer about it as well: the two must agree with what is
// expected.
func TestIsolation(t *testing.T) {
	for _, guard := range []bool{false, true} {
		for _, bridgeNetfilter := range []bool{false, true} {
			t.Run(fmt.Sprintf("guard=%t,br_netfilter=%t", guard, bridgeNetfilter), func(t *testing.T) {
				l := newLab(t, bridgeNetfilter)
				resync(t, newBackend(t, l.host), labRows(guard)...)
				all := trials(guard)
				for id, c := range all {
					all[id] = c.expect(bridgeNetfilter)
					c = all[id]
					l.send(c.from, c.frame(id))
					if c.arrive {
						frame := l.arrives(id, c.to)
						checkArrival(t, c, frame)
						checkPort(t, c, frame)
					}
				}
				checkHostSpeaks(t, l, len(all)+100)
				checkNoneLeaked(t, l, all)
			})
		}
	}
}

func checkArrival(t *testing.T, c trial, frame []byte) {
	t.Helper()
	if frame == nil {
		t.Errorf("%s: %s to %s: lost", c.name, c.from, c.to)
		return
	}
	if c.source == "" {
		return
	}
	at, size := 14+12, 4
	if netip.MustParseAddr(c.source).Is6() {
		at, size = 14+8, 16
	}
	if got, _ := netip.AddrFromSlice(frame[at : at+size]); got.String() != c.source {
		t.Errorf("%s: seen from %v, want %s", c.name, got, c.source)
	}
}

func checkPort(t *testing.T, c trial, frame []byte) {
	t.Helper()
	if frame == nil || c.port == 0 {
		return
	}
	got := binary.BigEndian.Uint16(hop{frame: frame}.payload(&expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}))
	if got != c.port {
		t.Errorf("%s: came to port %d, want %d", c.name, got, c.port)
	}
}

// checkHostSpeaks sends a frame from the host itself: it gets to ports with a
// policy and to those of others, not to one of ours without.
func checkHostSpeaks(t *testing.T, l *lab, id int) {
	t.Helper()
	l.send("host", arpFrame(broadcastMAC, placeOf("a1").gatewayMAC(), 1, placeOf("a1").gatewayMAC(), "10.1.0.1", "10.1.0.99", id))
	for _, name := range []string{"a1", "a2", "manual"} {
		if l.arrives(id, name) == nil {
			t.Errorf("the host's broadcast did not get to %s", name)
		}
	}
	if l.sinks["dead"].frame(id) != nil {
		t.Error("the host's broadcast got to a port without policy")
	}
}

// checkNoneLeaked sends one more frame along every way that frames could take,
// which arrives after all that went before, and only then looks for what must
// not have arrived.
func checkNoneLeaked(t *testing.T, l *lab, all []trial) {
	t.Helper()
	fence := len(all)
	for _, c := range append(append(udpTrials("fence", "a1", "a2", true), udpTrials("fence", "a1", "out", true)...),
		append(udpTrials("fence", "i1", "i2", true), udpTrials("fence", "q1", "out", true)...)...) {
		l.send(c.from, c.frame(fence))
		checkArrival(t, c, l.arrives(fence, c.to))
		fence++
	}
	for id, c := range all {
		if !c.arrive && l.sinks[c.to].frame(id) != nil {
			t.Errorf("%s: %s reached %s", c.name, c.from, c.to)
		}
	}
}

func TestTracerAgrees(t *testing.T) {
	for _, wrong := range disagreements(newTracer(t, labRows(false)), newTracer(t, labRows(true))) {
		t.Error(wrong)
	}
}

// TestEveryRuleMatters leaves out one rule after the other: some trial must
// notice.
func TestEveryRuleMatters(t *testing.T) {
	open, guarded := newTracer(t, labRows(false)), newTracer(t, labRows(true))
	for i, table := range open.tables {
		for j, chain := range table.chains {
			switch chain.name {
			case "output", "input", "sent", chainShut, chainHear, chainHearA, chainHear4, chainHear6:
				continue // for what the host itself sends and gets: TestBorder
			case chainMAC, chainHops4, chainHops6: // TestNextHopsAreFew, TestMACsAreFew
				continue
			}
			for k, rule := range chain.rules {
				switch rule.comment {
				case "stays on this host", "within this host": // nothing in the trials does
					continue
				case countedDrop: // TestDrops
					continue
				case "by way of a next hop that is new", "a MAC address that the bridge does not know": // likewise
					continue
				case "port security": // of the kind that the host's side alone knows
					continue
				case "ARP of no usual form", "whatever else: VLAN tag, other protocol", "ARP in the name of another, or of no usual form",
					"IPv4 from another's address", "IPv6 from another's address": // what follows drops it too, and counts it as another kind: TestDrops
					continue
				case "to the host's end of a container's cable, past its bridge": // TestBorder
					continue
				case "from localhost to a published port", "an answer for this host's 127.0.0.1": // TestWaysIn
					continue
				case "ports published on one address": // counts: TestTraffic
					continue
				case "into an internal network": // TestInternalHoldsForEstablished
					continue
				}
				rest := slices.Concat(chain.rules[:k], chain.rules[k+1:])
				open.tables[i].chains[j].rules, guarded.tables[i].chains[j].rules = rest, rest
				if len(disagreements(open, guarded)) == 0 {
					t.Errorf("%s: chain %s: nobody misses rule %d (%s)", table, chain.name, k+1, rule.comment)
				}
			}
			open.tables[i].chains[j].rules, guarded.tables[i].chains[j].rules = chain.rules, chain.rules
		}
	}
}

// disagreements are the trials of which a tracer thinks otherwise than expected.
func disagreements(open, guarded tracer) (wrong []string) {
	for guard, tr := range map[bool]tracer{false: open, true: guarded} {
		for id, c := range trials(guard) {
			for _, bridgeNetfilter := range []bool{false, true} {
				c := c.expect(bridgeNetfilter)
				arrive, masqueraded := tr.trace(c, c.frame(id), bridgeNetfilter)
				if arrive != c.arrive || masqueraded != (c.source != "") {
					wrong = append(wrong, fmt.Sprintf("%s (guard=%t br_netfilter=%t): arrives %t, masqueraded %t",
						c.name, guard, bridgeNetfilter, arrive, masqueraded))
				}
			}
		}
	}
	return wrong
}

// TestInternalHoldsForEstablished is for the tracer alone: a network that turns
// internal closes for connections that it already has.
func TestInternalHoldsForEstablished(t *testing.T) {
	tr := newTracer(t, labRows(false))
	for _, h := range []hop{{iif: "br-i", oif: "eth0"}, {iif: "eth0", oif: "br-i"}} {
		h.frame, h.state = udpFrame(uplinkMAC, uplinkMAC, "10.3.0.11", "192.0.2.2", 1, 2, 0), expr.CtStateBitESTABLISHED
		if got := tr.run(unix.NFPROTO_INET, "forward", h); got != verdictDrop {
			t.Errorf("%s to %s: %s", h.iif, h.oif, got)
		}
	}
}

// trace follows a frame from hook to hook, as the kernel would.
func (tr tracer) trace(c trial, frame []byte, bridgeNetfilter bool) (arrive, masqueraded bool) {
	from, to := placeOf(c.from), placeOf(c.to)
	h := hop{frame: frame, iif: from.host, iifGroup: from.group(), state: c.state}
	if from.bridge != "" && tr.run(unix.NFPROTO_BRIDGE, "prerouting", h) == verdictDrop {
		return false, false
	}
	routed := from.bridge == "" || string(frame[:6]) == string(parseMAC(from.gatewayMAC()))
	ip := h.kind() == etherIPv4 || h.kind() == etherIPv6
	if ip && (routed || bridgeNetfilter) {
		if !tr.prerouting(&h, from) {
			return false, false
		}
		if h.first != nil && placeOf(c.to) != placeAt(h.destination()) {
			return false, false // it went elsewhere
		}
		routed = routed && (h.first == nil || !bridgeNetfilter || from.bridge == "" || from.bridge != to.bridge)
	}
	if c.state == 0 && isLocal(h.destination()) { // answers are sent back to their true destination
		return false, false
	}
	return tr.onwards(h, c, routed, bridgeNetfilter && ip)
}

// prerouting is what comes before the choice of a way: false if that is the end.
func (tr tracer) prerouting(h *hop, from place) bool {
	at := hop{frame: h.frame, iif: from.device(), state: h.state, nat: new(netip.AddrPort)}
	if tr.run(unix.NFPROTO_INET, "early", at) == verdictDrop {
		return false
	}
	if h.state == 0 && tr.run(unix.NFPROTO_INET, "prerouting", at) == verdictTranslate {
		h.first, h.frame = h.frame, readdressed(h.frame, *at.nat)
	}
	return true
}

// onwards is from the choice of a way to the other end of the cable.
func (tr tracer) onwards(h hop, c trial, routed, bridgeNetfilter bool) (arrive, masqueraded bool) {
	from, to := placeOf(c.from), placeOf(c.to)
	h.mark = new(uint32)
	frame := h
	frame.oif, frame.oifGroup = to.host, to.group()
	h = hop{frame: h.frame, first: h.first, iif: from.device(), oif: to.device(), state: c.state, mark: h.mark}
	if !routed && tr.run(unix.NFPROTO_BRIDGE, "forward", frame) == verdictDrop {
		return false, false
	}
	if (routed || bridgeNetfilter) && tr.run(unix.NFPROTO_INET, "forward", h) == verdictDrop {
		return false, false
	}
	if !routed && tr.run(unix.NFPROTO_BRIDGE, "icc", frame) == verdictDrop {
		return false, false
	}
	if !routed && !bridgeNetfilter {
		return true, false
	}
	if !routed {
		h.iif = "" // the kernel does not say
	}
	h.nat = new(netip.AddrPort)
	masqueraded = c.state == 0 && c.leaves(tr.run(unix.NFPROTO_INET, "postrouting", h), *h.nat)
	out := hop{frame: h.frame, oif: to.host, oifGroup: to.group()}
	if routed && to.bridge != "" && tr.run(unix.NFPROTO_BRIDGE, "output", out) == verdictDrop {
		return false, masqueraded
	}
	return true, masqueraded
}
