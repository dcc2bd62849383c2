package nft

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
)

// forged is a frame made by hand, and what it was made of.
type forged struct {
	id         int
	from       place
	body       body
	dmac, smac string
	src, dst   string // of the body's family; of ARP, sender and target
	tags       int    // VLAN tags of network 0
	frame      []byte
}

func (f forged) String() string {
	return fmt.Sprintf("%d: %s sends %s (tags %d), MAC %s to %s, %s to %s", f.id, f.from.name, f.body.name, f.tags, f.smac, f.dmac, f.src, f.dst)
}

// family is that of the addresses of a frame.
type addressing int

const (
	noIP addressing = iota
	four
	six
)

// body is one kind of frame: what is behind the addresses.
type body struct {
	name   string
	family addressing
	kind   uint16 // EtherType
	// payload is the packet behind the MAC addresses, for IP with its header.
	payload func(f *forged) []byte
	state   uint32 // what conntrack makes of it; 0 is a new connection
	// bare connections have no ports: of two that are masqueraded alike the second is
	// lost. They go to the host.
	bare bool
}

const (
	stateInvalid   = 1  // NF_CT_STATE_INVALID_BIT
	stateUntracked = 64 // NF_CT_STATE_UNTRACKED_BIT
)

// behind takes the MAC addresses and the EtherType off.
func behind(frame []byte) []byte { return frame[14:] }

func forgedUDP(name string, f addressing, sport, dport uint16) body {
	return body{name: name, family: f, payload: func(g *forged) []byte {
		from := sport
		if from == 0 {
			from = uint16(10000 + g.id)
		}
		return behind(udpFrame(g.dmac, g.smac, g.src, g.dst, from, dport, g.id))
	}}
}

func forgedTCP(name string, f addressing, dport uint16, flags byte, state uint32) body {
	return body{name: name, family: f, state: state, payload: func(g *forged) []byte {
		return behind(tcpFrame(g.dmac, g.smac, g.src, g.dst, [2]uint16{uint16(10000 + g.id), dport}, flags, g.id))
	}}
}

// forgedICMP is a message of either family.
func forgedICMP(name string, f addressing, kind byte, size int, state uint32) body {
	return body{name: name, family: f, state: state, payload: func(g *forged) []byte {
		more := make([]byte, size)
		binary.BigEndian.PutUint16(more, uint16(g.id)) // of echoes, the identifier
		if f == six {
			return behind(icmp6Frame(g.dmac, g.smac, g.src, g.dst, kind, more, g.id))
		}
		b := slices.Concat([]byte{kind, 0, 0, 0}, more, mark(g.id))
		binary.BigEndian.PutUint16(b[2:], checksum(b))
		return behind(ipFrame(g.dmac, g.smac, g.src, g.dst, protocolICMP, b))
	}}
}

func forgedIP(name string, f addressing, protocol byte) body {
	return body{name: name, family: f, bare: true, payload: func(g *forged) []byte {
		return behind(ipFrame(g.dmac, g.smac, g.src, g.dst, protocol, slices.Concat([]byte{0, 0, 8, 0}, mark(g.id))))
	}}
}

func forgedARP(name string, op byte) body {
	return body{name: name, family: four, kind: etherARP, payload: func(g *forged) []byte {
		return behind(arpFrame(g.dmac, g.smac, op, g.smac, g.src, g.dst, g.id))
	}}
}

func forgedRaw(name string, kind uint16) body {
	return body{name: name, kind: kind, payload: func(g *forged) []byte {
		return slices.Concat([]byte{0x42, 0x42, 3, 0}, mark(g.id), make([]byte, 38))
	}}
}

// bodies are all kinds of frames. Ports are those of portRows and borderRows.
func bodies() []body {
	out := []body{
		forgedARP("an ARP request", 1), forgedARP("an ARP answer", 2),
		forgedRaw("LLDP", 0x88cc), forgedRaw("802.1X", unix.ETH_P_PAE), forgedRaw("a test protocol", etherTest),
		forgedRaw("spanning tree", 46), // a length: IEEE 802.2
		forgedICMP("an ICMP error about nothing", four, 3, 4, stateInvalid),
		forgedICMP("an ICMP redirect", four, 5, 4, stateInvalid),
		forgedICMP("an echo request", four, 8, 4, 0), forgedICMP("an echo reply", four, 0, 4, stateInvalid),
		forgedICMP("an echo request, IPv6", six, 128, 4, 0), forgedICMP("an echo reply, IPv6", six, 129, 4, stateInvalid),
		forgedICMP("a router solicitation", six, 133, 4, stateUntracked),
		forgedICMP("a router advertisement", six, 134, 12, stateUntracked),
		forgedICMP("a neighbour solicitation", six, 135, 20, stateUntracked),
		forgedICMP("a redirect, IPv6", six, 137, 36, stateInvalid),
		forgedIP("IGMP", four, unix.IPPROTO_IGMP),
		forgedUDP("a DHCP server", four, 67, 68), forgedUDP("a DHCPv6 server", six, 547, 546),
	}
	for _, f := range []addressing{four, six} {
		name := map[addressing]string{four: "", six: ", IPv6"}[f]
		out = append(out, forgedIP("GRE"+name, f, 47), forgedIP("protocol 253"+name, f, 253))
		for _, port := range []uint16{9999, 8080, 8081, 8082, 8090, 8095, 9005, 9201, 8070, 7000} {
			out = append(out, forgedUDP(fmt.Sprintf("UDP to port %d%s", port, name), f, 0, port))
		}
		for _, port := range []uint16{9999, 8080, 8070, 8075, 8081, 8086} {
			what := fmt.Sprintf(" to port %d%s", port, name)
			out = append(out, forgedTCP("SYN"+what, f, port, tcpSYN, 0), forgedTCP("ACK"+what, f, port, tcpACK, 0),
				forgedTCP("RST"+what, f, port, tcpRST, stateInvalid), forgedTCP("FIN"+what, f, port, tcpFIN|tcpACK, stateInvalid),
				forgedTCP("SYN and ACK"+what, f, port, tcpSYN|tcpACK, stateInvalid))
		}
	}
	return out
}

// neighbourOf is another container of the same network.
func neighbourOf(p place) place {
	for _, o := range places() {
		if o.bridge == p.bridge && o.name != p.name && o.pinned {
			return o
		}
	}
	panic("no neighbour: " + p.name)
}

// classes of addresses, by the place that speaks. The first of each is the honest one.

func destinationMACs(p place) []string {
	reserved := []string{"00", "01", "02", "03", "0e", "0f"}
	out := []string{p.gatewayMAC(), neighbourOf(p).mac, broadcastMAC, allNodesMAC, "01:00:5e:00:00:01", uplinkMAC, stranger,
		placeOf("out").mac, "02:00:00:00:00:0b", placeOf("b1").mac}
	for _, last := range reserved {
		out = append(out, "01:80:c2:00:00:"+last, "01:80:c2:00:00:"+last)
	}
	return out
}

// chosenMAC is nobody's, and who has NET_ADMIN may speak under it.
const chosenMAC = "02:00:00:00:0a:98"

func sourceMACs(p place) []string {
	if p.mode == desired.PortCapable {
		return []string{p.mac, neighbourOf(p).mac, p.gatewayMAC(), uplinkMAC, chosenMAC, "03:00:00:00:00:01"}
	}
	return []string{p.mac, neighbourOf(p).mac, p.gatewayMAC(), uplinkMAC, stranger, "03:00:00:00:00:01"}
}

func destinations(p place, f addressing) []string {
	if f == six {
		return []string{placeOf("out").ip6, hostOf(p.ip6, 64), neighbourOf(p).ip6, uplink6, "2001:db8:1::1", "2001:db8:1::2", "fe80::1",
			"ff02::1", placeOf("b1").ip6, placeOf("open").ip6, hostOf(placeOf("b1").ip6, 64), "::1", placeOf("i2").ip6, "2001:db8:99::1"}
	}
	return []string{placeOf("out").ip4, hostOf(p.ip4, 24), neighbourOf(p).ip4, uplink4, "198.51.100.1", "198.51.100.2", "127.0.0.1",
		"224.0.0.1", "255.255.255.255", placeOf("b1").ip4, placeOf("open").ip4, hostOf(placeOf("b1").ip4, 24), placeOf("i2").ip4, "8.8.8.8"}
}

func sourcesOf(p place, f addressing) []string {
	if f == six {
		return []string{p.ip6, neighbourOf(p).ip6, hostOf(p.ip6, 64), uplink6, "2001:db8:77::7", "::", "::1", ownLinkLocal(p.mac), "fe80::1", "fe80::7777",
			elsewhere6, placeOf("i2").ip6, "::ffff:10.1.0.11"}
	}
	return []string{p.ip4, neighbourOf(p).ip4, hostOf(p.ip4, 24), uplink4, "8.8.8.8", noAddress, "127.0.0.1", onLink4, "224.0.0.1",
		elsewhere4, placeOf("i2").ip4, "255.255.255.255"}
}

// hostOf is the host's own address on a network.
func hostOf(ip string, bits int) string {
	address := gateway(ip, bits)
	return address[:len(address)-3]
}

// forgeries makes n frames. Most differ from honest ones in one or two respects, so
// that every respect is looked at by itself as well. The same seed makes the same.
func forgeries(n int, from ...string) []forged {
	const seed = 20260
	random := rand.New(rand.NewPCG(seed, seed))
	pick := func(from []string, honest int) string {
		if random.IntN(100) < honest {
			return from[0]
		}
		return from[random.IntN(len(from))]
	}
	all := bodies()
	out := make([]forged, n)
	for id := range out {
		f := &out[id]
		f.id, f.from, f.body = id, placeOf(from[random.IntN(len(from))]), all[random.IntN(len(all))]
		family := f.body.family
		if family == noIP {
			family = four
		}
		f.dmac, f.smac = pick(destinationMACs(f.from), 40), pick(sourceMACs(f.from), 85)
		f.src, f.dst = pick(sourcesOf(f.from, family), 75), pick(destinations(f.from, family), 10)
		if bare := f.body.bare; bare && !strings.HasPrefix(f.dst, hostOf(f.from.ip4, 24)) {
			f.dst = hostOf(sameFamily(f.dst, f.from.ip4, f.from.ip6), map[addressing]int{four: 24, six: 64}[family])
		}
		if random.IntN(20) == 0 {
			f.tags = 1 + random.IntN(2)
		}
		f.frame = f.build()
	}
	return out
}

func (f *forged) build() []byte {
	kind := f.body.kind
	if kind == 0 {
		kind = map[addressing]uint16{four: etherIPv4, six: etherIPv6}[f.body.family]
	}
	head := []byte{}
	for range f.tags {
		head = append(binary.BigEndian.AppendUint16(head, etherVLAN), 0, 0)
	}
	head = binary.BigEndian.AppendUint16(head, kind)
	return slices.Concat([]byte(parseMAC(f.dmac)), []byte(parseMAC(f.smac)), head, f.body.payload(f))
}

// untagged is the frame as the stack sees it.
func (f forged) untagged() []byte {
	return slices.Concat(f.frame[:12], f.frame[12+4*f.tags:])
}
