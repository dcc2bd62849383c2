package border

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

// Forged is a frame made by hand, and what it was made of.
type Forged struct {
	id         int
	from       firewalltest.Place
	body       body
	dmac, smac string
	src, dst   string // of the body's family; of ARP, sender and target
	tags       int    // VLAN tags of network 0
	frame      []byte
}

func (f Forged) String() string {
	return fmt.Sprintf("%d: %s sends %s (tags %d), MAC %s to %s, %s to %s", f.id, f.from.Name, f.body.name, f.tags, f.smac, f.dmac, f.src, f.dst)
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
	payload func(f *Forged) []byte
	state   uint32 // what conntrack makes of it; 0 is a new connection
	// bare connections have no ports: of two that are masqueraded alike the second is
	// lost. They go to the host.
	bare bool
}

// behind takes the MAC addresses and the EtherType off.
func behind(frame []byte) []byte { return frame[14:] }

func forgedUDP(name string, f addressing, sport, dport uint16) body {
	return body{name: name, family: f, payload: func(g *Forged) []byte {
		from := sport
		if from == 0 {
			from = uint16(10000 + g.id)
		}
		return behind(frames.Between(g.dmac, g.smac, g.src, g.dst).UDP(from, dport, g.id))
	}}
}

func forgedTCP(name string, f addressing, dport uint16, flags byte, state uint32) body {
	return body{name: name, family: f, state: state, payload: func(g *Forged) []byte {
		return behind(frames.Between(g.dmac, g.smac, g.src, g.dst).TCP([2]uint16{uint16(10000 + g.id), dport}, flags, g.id))
	}}
}

// forgedICMP is a message of either family.
func forgedICMP(name string, f addressing, kind byte, size int, state uint32) body {
	return body{name: name, family: f, state: state, payload: func(g *Forged) []byte {
		more := make([]byte, size)
		binary.BigEndian.PutUint16(more, uint16(g.id)) // of echoes, the identifier
		if f == six {
			return behind(frames.Between(g.dmac, g.smac, g.src, g.dst).ICMP6(kind, more, g.id))
		}
		b := slices.Concat([]byte{kind, 0, 0, 0}, more, frames.Mark(g.id))
		binary.BigEndian.PutUint16(b[2:], frames.Checksum(b))
		return behind(frames.Between(g.dmac, g.smac, g.src, g.dst).IP(frames.ICMP, b))
	}}
}

func forgedIP(name string, f addressing, protocol byte) body {
	return body{name: name, family: f, bare: true, payload: func(g *Forged) []byte {
		return behind(frames.Between(g.dmac, g.smac, g.src, g.dst).IP(protocol, slices.Concat([]byte{0, 0, 8, 0}, frames.Mark(g.id))))
	}}
}

func forgedARP(name string, op byte) body {
	return body{name: name, family: four, kind: frames.ARP, payload: func(g *Forged) []byte {
		return behind(frames.Between(g.dmac, g.smac, g.src, g.dst).ARP(op, g.smac, g.id))
	}}
}

func forgedRaw(name string, kind uint16) body {
	return body{name: name, kind: kind, payload: func(g *Forged) []byte {
		return slices.Concat([]byte{0x42, 0x42, 3, 0}, frames.Mark(g.id), make([]byte, 38))
	}}
}

// bodies are all kinds of frames. Ports are those of portRows and Rows.
func bodies() []body {
	out := []body{
		forgedARP("an ARP request", 1), forgedARP("an ARP answer", 2),
		forgedRaw("LLDP", 0x88cc), forgedRaw("802.1X", unix.ETH_P_PAE), forgedRaw("a test protocol", frames.Test),
		forgedRaw("spanning tree", 46), // a length: IEEE 802.2
		forgedICMP("an ICMP error about nothing", four, 3, 4, firewalltest.StateInvalid),
		forgedICMP("an ICMP redirect", four, 5, 4, firewalltest.StateInvalid),
		forgedICMP("an echo request", four, 8, 4, 0), forgedICMP("an echo reply", four, 0, 4, firewalltest.StateInvalid),
		forgedICMP("an echo request, IPv6", six, 128, 4, 0), forgedICMP("an echo reply, IPv6", six, 129, 4, firewalltest.StateInvalid),
		forgedICMP("a router solicitation", six, 133, 4, firewalltest.StateUntracked),
		forgedICMP("a router advertisement", six, 134, 12, firewalltest.StateUntracked),
		forgedICMP("a neighbour solicitation", six, 135, 20, firewalltest.StateUntracked),
		forgedICMP("a redirect, IPv6", six, 137, 36, firewalltest.StateInvalid),
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
			out = append(out, forgedTCP("SYN"+what, f, port, frames.SYN, 0), forgedTCP("ACK"+what, f, port, frames.ACK, 0),
				forgedTCP("RST"+what, f, port, frames.RST, firewalltest.StateInvalid), forgedTCP("FIN"+what, f, port, frames.FIN|frames.ACK, firewalltest.StateInvalid),
				forgedTCP("SYN and ACK"+what, f, port, frames.SYN|frames.ACK, firewalltest.StateInvalid))
		}
	}
	return out
}

// neighbourOf is another container of the same network.
func neighbourOf(p firewalltest.Place) firewalltest.Place {
	for _, o := range firewalltest.Places() {
		if o.Bridge == p.Bridge && o.Name != p.Name && o.Pinned {
			return o
		}
	}
	panic("no neighbour: " + p.Name)
}

// classes of addresses, by the place that speaks. The first of each is the honest one.

func destinationMACs(p firewalltest.Place) []string {
	reserved := []string{"00", "01", "02", "03", "0e", "0f"}
	out := []string{p.GatewayMAC(), neighbourOf(p).MAC, frames.Broadcast, frames.AllNodes, "01:00:5e:00:00:01", firewalltest.UplinkMAC, stranger,
		firewalltest.PlaceOf("out").MAC, "02:00:00:00:00:0b", firewalltest.PlaceOf("b1").MAC}
	for _, last := range reserved {
		out = append(out, "01:80:c2:00:00:"+last, "01:80:c2:00:00:"+last)
	}
	return out
}

// MAC addresses that are nobody's. Who has NET_ADMIN may speak under chosenMAC.
const (
	chosenMAC = "02:00:00:00:0a:98"
	stranger  = "02:00:00:00:0a:99"
)

func sourceMACs(p firewalltest.Place) []string {
	if p.Mode == desired.PortCapable {
		return []string{p.MAC, neighbourOf(p).MAC, p.GatewayMAC(), firewalltest.UplinkMAC, chosenMAC, "03:00:00:00:00:01"}
	}
	return []string{p.MAC, neighbourOf(p).MAC, p.GatewayMAC(), firewalltest.UplinkMAC, stranger, "03:00:00:00:00:01"}
}

func destinations(p firewalltest.Place, f addressing) []string {
	if f == six {
		return []string{firewalltest.PlaceOf("out").IP6, firewalltest.HostOf(p.IP6, 64), neighbourOf(p).IP6, firewalltest.Uplink6, "2001:db8:1::1", "2001:db8:1::2", "fe80::1",
			"ff02::1", firewalltest.PlaceOf("b1").IP6, firewalltest.PlaceOf("open").IP6, firewalltest.HostOf(firewalltest.PlaceOf("b1").IP6, 64), "::1", firewalltest.PlaceOf("i2").IP6, "2001:db8:99::1"}
	}
	return []string{firewalltest.PlaceOf("out").IP4, firewalltest.HostOf(p.IP4, 24), neighbourOf(p).IP4, firewalltest.Uplink4, "198.51.100.1", "198.51.100.2", "127.0.0.1",
		"224.0.0.1", "255.255.255.255", firewalltest.PlaceOf("b1").IP4, firewalltest.PlaceOf("open").IP4, firewalltest.HostOf(firewalltest.PlaceOf("b1").IP4, 24), firewalltest.PlaceOf("i2").IP4, "8.8.8.8"}
}

func sourcesOf(p firewalltest.Place, f addressing) []string {
	if f == six {
		return []string{p.IP6, neighbourOf(p).IP6, firewalltest.HostOf(p.IP6, 64), firewalltest.Uplink6, "2001:db8:77::7", "::", "::1", firewalltest.OwnLinkLocal(p.MAC), "fe80::1", "fe80::7777",
			firewalltest.Elsewhere6, firewalltest.PlaceOf("i2").IP6, "::ffff:10.1.0.11"}
	}
	return []string{p.IP4, neighbourOf(p).IP4, firewalltest.HostOf(p.IP4, 24), firewalltest.Uplink4, "8.8.8.8", "0.0.0.0", "127.0.0.1", firewalltest.OnLink4, "224.0.0.1",
		firewalltest.Elsewhere4, firewalltest.PlaceOf("i2").IP4, "255.255.255.255"}
}

// Forgeries makes n frames. Most differ from honest ones in one or two respects, so
// that every respect is looked at by itself as well. The same seed makes the same.
func Forgeries(n int, from ...string) []Forged {
	const seed = 20260
	random := rand.New(rand.NewPCG(seed, seed))
	pick := func(from []string, honest int) string {
		if random.IntN(100) < honest {
			return from[0]
		}
		return from[random.IntN(len(from))]
	}
	all := bodies()
	out := make([]Forged, n)
	for id := range out {
		f := &out[id]
		f.id, f.from, f.body = id, firewalltest.PlaceOf(from[random.IntN(len(from))]), all[random.IntN(len(all))]
		family := f.body.family
		if family == noIP {
			family = four
		}
		f.dmac, f.smac = pick(destinationMACs(f.from), 40), pick(sourceMACs(f.from), 85)
		f.src, f.dst = pick(sourcesOf(f.from, family), 75), pick(destinations(f.from, family), 10)
		if bare := f.body.bare; bare && !strings.HasPrefix(f.dst, firewalltest.HostOf(f.from.IP4, 24)) {
			f.dst = firewalltest.HostOf(firewalltest.SameFamily(f.dst, f.from.IP4, f.from.IP6), map[addressing]int{four: 24, six: 64}[family])
		}
		if random.IntN(20) == 0 {
			f.tags = 1 + random.IntN(2)
		}
		f.frame = f.build()
	}
	return out
}

func (f *Forged) build() []byte {
	kind := f.body.kind
	if kind == 0 {
		kind = map[addressing]uint16{four: frames.IPv4, six: frames.IPv6}[f.body.family]
	}
	head := []byte{}
	for range f.tags {
		head = append(binary.BigEndian.AppendUint16(head, frames.VLAN), 0, 0)
	}
	head = binary.BigEndian.AppendUint16(head, kind)
	return slices.Concat([]byte(frames.MAC(f.dmac)), []byte(frames.MAC(f.smac)), head, f.body.payload(f))
}

// untagged is the frame as the stack sees it.
func (f Forged) untagged() []byte {
	return slices.Concat(f.frame[:12], f.frame[12+4*f.tags:])
}
