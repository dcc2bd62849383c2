package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
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

// speaker makes frames of a place.
type speaker struct{ place }

func (p speaker) udp(mac, src string, sport, dport uint16) func(int) []byte {
	dst := placeOf("a2").ip4
	if netip.MustParseAddr(src).Is6() {
		dst = placeOf("a2").ip6
	}
	return func(id int) []byte { return udpFrame(placeOf("a2").mac, mac, src, dst, sport, dport, id) }
}

func (p speaker) from(src string) func(int) []byte { return p.udp(p.mac, src, 4000, 4001) }

func (p speaker) arp(op byte, mac, sender, target string) func(int) []byte {
	return func(id int) []byte { return arpFrame(broadcastMAC, p.mac, op, mac, sender, target, id) }
}

func (p speaker) advert(src, target string) func(int) []byte {
	return func(id int) []byte { return advertFrame(p.mac, src, target, id) }
}

func (p speaker) icmp6(kind byte, src string, size int) func(int) []byte {
	return func(id int) []byte {
		return icmp6Frame(allNodesMAC, p.mac, src, "ff02::1", kind, make([]byte, size), id)
	}
}

func (p speaker) raw(kind uint16, head ...byte) func(int) []byte {
	return func(id int) []byte { return ether(broadcastMAC, p.mac, kind, head, mark(id), make([]byte, 40)) }
}

// capableTrials: a container with NET_ADMIN speaks for whom nobody else does.
func capableTrials() []trial {
	p, a1, b1 := speaker{placeOf("cap")}, placeOf("a1"), placeOf("b1")
	bridge, own := p.gatewayMAC(), ownLinkLocal(p.mac)
	out := trialsOf("cap", []said{
		{"own address", p.from(p.ip4), true},
		{"floating address, IPv4", p.from(floating4), true},
		{"floating address, IPv6", p.from(floating6), true},
		{"privacy or SLAAC address on the link", p.from(privateLLA), true},
		{"VRRP's own MAC address", p.udp(vrrpMAC, floating4, 1, 2), true},
		{"routed from another network, IPv4", p.from(b1.ip4), true},
		{"routed from another network, IPv6", p.from(b1.ip6), true},
		{"routed from outside, IPv4", p.from(outside4), true},
		{"routed from outside, IPv6", p.from(outside6), true},
		{"DHCP server", p.udp(p.mac, p.ip4, 67, 68), true},
		{"DHCPv6 server", p.udp(p.mac, own, 547, 546), true},
		{"DHCP client", p.udp(p.mac, noAddress, 68, 67), true},
		{"router advertisement", p.icmp6(134, own, 12), true},
		{"redirect", p.icmp6(137, own, 36), true},
		{"duplicate address detection", p.icmp6(135, "::", 20), true},
		{"ARP for a floating address", p.arp(2, p.mac, floating4, floating4), true},
		{"ARP for a floating address with VRRP's MAC address", p.arp(2, vrrpMAC, floating4, floating4), true},
		{"ARP probe for a neighbour's address", p.arp(1, p.mac, noAddress, a1.ip4), true},
		{"advertisement of a floating address", p.advert(p.ip6, floating6), true},
		{"advertisement for an address of elsewhere", p.advert(p.ip6, outside6), true},

		{"neighbour's MAC address", p.udp(a1.mac, floating4, 1, 2), false},
		{"bridge's MAC address", p.udp(bridge, floating4, 1, 2), false},
		{"host's MAC address", p.udp(uplinkMAC, floating4, 1, 2), false},
		{"neighbour's address, IPv4", p.from(a1.ip4), false},
		{"neighbour's address, IPv6", p.from(a1.ip6), false},
		{"neighbour's address on the link", p.from(ownLinkLocal(a1.mac)), false},
		{"gateway's address, IPv4", p.from(hostIP4), false},
		{"gateway's address, IPv6", p.from("fd01::1"), false},
		{"gateway's address on the link", p.from("fe80::1"), false},
		{"another gateway's address", p.from("10.2.0.1"), false},
		{"host's address, IPv4", p.from("192.0.2.1"), false},
		{"host's address, IPv6", p.from("2001:db8::1"), false},
		{"nobody's address, IPv4", p.from(noAddress), false},
		{"nobody's address, IPv6", p.from("::"), false},
		{"loopback address, IPv4", p.from("127.0.0.1"), false},
		{"loopback address, IPv6", p.from("::1"), false},
		{"group's address, IPv4", p.from("224.0.0.1"), false},
		{"everybody's address", p.from("255.255.255.255"), false},
		{"group's address, IPv6", p.from("ff02::1"), false},
		{"IPv4 address in IPv6", p.from("::ffff:10.1.0.11"), false},
		{"ARP for a neighbour", p.arp(2, p.mac, a1.ip4, a1.ip4), false},
		{"ARP for the gateway", p.arp(2, p.mac, hostIP4, hostIP4), false},
		{"ARP with a neighbour's MAC address", p.arp(2, a1.mac, floating4, floating4), false},
		{"ARP for a loopback address", p.arp(2, p.mac, "127.0.0.1", "127.0.0.1"), false},
		{"ARP for a group's address", p.arp(2, p.mac, "224.0.0.1", "224.0.0.1"), false},
		{"ARP of another form", p.raw(etherARP, 0, 6, 8, 0, 6, 4, 0, 1), false},
		{"advertisement for a neighbour", p.advert(p.ip6, a1.ip6), false},
		{"advertisement for the gateway", p.advert(p.ip6, "fd01::1"), false},
		{"advertisement for the gateway on the link", p.advert(own, "fe80::1"), false},
		{"router advertisement of the gateway", p.icmp6(134, "fe80::1", 12), false},
		{"another protocol", p.raw(etherTest), false},
	})
	return slices.Concat(out, capableWays())
}

// capableWays are frames that leave the network of a container with NET_ADMIN.
func capableWays() []trial {
	cap, out, capi := placeOf("cap"), placeOf("out"), placeOf("capi")
	by := func(p place, src, dst string) func(int) []byte {
		return func(id int) []byte { return udpFrame(p.gatewayMAC(), p.mac, src, dst, 5000, 5001, id) }
	}
	within := func(src string) func(int) []byte {
		return func(id int) []byte {
			return udpFrame(placeOf("i1").mac, capi.mac, src, placeOf("i1").ip4, 5000, 5001, id)
		}
	}
	return []trial{
		{name: "cap: out from a floating address, IPv4", from: "cap", to: "out", frame: by(cap, floating4, out.ip4), arrive: true, source: "192.0.2.1"},
		{name: "cap: out from a floating address, IPv6", from: "cap", to: "out", frame: by(cap, floating6, out.ip6), arrive: true, source: "2001:db8::1"},
		{name: "cap: out from another network, IPv4", from: "cap", to: "out", frame: by(cap, placeOf("b1").ip4, out.ip4), arrive: true, source: "192.0.2.1"},
		{name: "cap: out from another network, IPv6", from: "cap", to: "out", frame: by(cap, placeOf("b1").ip6, out.ip6), arrive: true, source: "2001:db8::1"},
		{name: "cap: out from a forged address, IPv4", from: "cap", to: "out", frame: by(cap, outside4, out.ip4)},
		{name: "cap: out from a forged address, IPv6", from: "cap", to: "out", frame: by(cap, outside6, out.ip6)},
		{name: "cap: to another network", from: "cap", to: "b1", frame: by(cap, floating4, placeOf("b1").ip4)},
		{name: "capi: within an internal network", from: "capi", to: "i1", frame: within("10.3.0.200"), arrive: true},
		{name: "capi: out of an internal network, IPv4", from: "capi", to: "out", frame: by(capi, "10.3.0.200", out.ip4)},
		{name: "capi: out of an internal network, IPv6", from: "capi", to: "out", frame: by(capi, "fd03::200", out.ip6)},
		{name: "capi: out of an internal network from another", from: "capi", to: "out", frame: by(capi, "10.1.0.200", out.ip4)},
		{name: "capi: from an internal network to another", from: "capi", to: "a1", frame: by(capi, "10.3.0.200", placeOf("a1").ip4)},
	}
}

// uncheckedTrials: with port_security=off nobody looks, except at the border of an
// internal network and where containers are kept apart.
func uncheckedTrials() []trial {
	p, a1, q1, q2 := speaker{placeOf("off")}, placeOf("a1"), placeOf("q1"), placeOf("q2")
	offi, offq := placeOf("offi"), placeOf("offq")
	out := trialsOf("off", []said{
		{"neighbour's address, IPv4", p.from(a1.ip4), true},
		{"neighbour's address, IPv6", p.from(a1.ip6), true},
		{"gateway's address", p.from(hostIP4), true},
		{"any MAC address", p.udp(stranger, p.ip4, 1, 2), true},
		{"another protocol", p.raw(etherTest), true},
		{"ARP for a neighbour", p.arp(2, p.mac, a1.ip4, a1.ip4), true},
		{"router advertisement", p.icmp6(134, linkLocal, 12), true},
	})
	apart := func(src, dst string) func(int) []byte {
		return func(id int) []byte { return udpFrame(q1.mac, offq.mac, src, dst, 5000, 6000, id) }
	}
	return append(out,
		trial{name: "offi: out of an internal network", from: "offi", to: "out", frame: func(id int) []byte {
			return udpFrame(offi.gatewayMAC(), offi.mac, offi.ip4, placeOf("out").ip4, 5000, 5001, id)
		}},
		trial{name: "offi: out of an internal network, from another's address", from: "offi", to: "out", frame: func(id int) []byte {
			return udpFrame(offi.gatewayMAC(), offi.mac, a1.ip4, placeOf("out").ip4, 5000, 5001, id)
		}},
		trial{name: "offq: icc=false", from: "offq", to: "q1", frame: apart(offq.ip4, q1.ip4)},
		trial{name: "offq: by another's link, IPv4", from: "offq", to: "q1", frame: apart(q2.ip4, q1.ip4)},
		trial{name: "offq: by another's link, IPv6", from: "offq", to: "q1", frame: apart(q2.ip6, q1.ip6)},
	)
}

// TestDrops: what is dropped is counted, by port and kind; ports that behave are
// not in the list, and those that are gone are forgotten.
func TestDrops(t *testing.T) {
	l := newLab(t, false)
	b := newBackend(t, l.host)
	rows := labRows(false)
	resync(t, b, rows...)
	a1 := speaker{placeOf("a1")}
	for i := range 3 {
		l.send("a1", a1.from(outside4)(i))
	}
	l.send("a1", a1.arp(2, a1.mac, hostIP4, hostIP4)(9))
	l.send("a1", a1.advert(linkLocal, "fe80::1")(9))
	l.send("a1", a1.icmp6(134, linkLocal, 12)(9))
	l.send("a1", a1.udp(stranger, a1.ip4, 1, 2)(9))
	l.send("a1", a1.raw(etherTest)(9))
	l.send("cap", speaker{placeOf("cap")}.from(a1.ip4)(9))
	l.send("i1", udpFrame(placeOf("i2").mac, placeOf("i1").mac, placeOf("i1").ip4, placeOf("i2").ip4, 1, 2, 900))
	l.send("a1", a1.from(a1.ip4)(901))
	if l.arrives(900, "i2") == nil || l.arrives(901, "a2") == nil {
		t.Fatal("what is allowed does not pass")
	}
	want := map[string]uint64{"va1 source": 3, "va1 arp": 1, "va1 discovery": 1, "va1 service": 1, "va1 mac": 1, "va1 frame": 1, "vcap source": 1}
	checkDrops(t, b, want)
	if r := resync(t, b, rows...); r.Writes != 0 {
		t.Errorf("counters are taken for drift: %+v", r)
	}
	cap := placeOf("cap")
	l.send("cap", arpFrame(broadcastMAC, cap.mac, 1, cap.mac, floating4, hostIP4, 1))
	list := func(set string) string { return l.host.nft("list", "set", "bridge", "linkspan", set) }
	if !until(func() bool { return strings.Contains(list(setHeard4), "vcap") }) {
		t.Error("the host takes no note of a floating address")
	}
	apply(t, b, desired.Delta{Owner: "test", Old: cap.pin()})
	delete(want, "vcap source")
	checkDrops(t, b, want)
	if err := b.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{dropSet(facts.DropSource), setHeard4, setPace} {
		if got := list(set); strings.Contains(got, "vcap") {
			t.Errorf("of a port that is gone stays: %s", got)
		}
	}
	checkDrops(t, b, want)
}

func checkDrops(t *testing.T, b *Backend, want map[string]uint64) {
	t.Helper()
	got, err := b.Drops(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range got {
		name := d.Port + " " + string(d.Kind)
		if want[name] != d.Packets || d.Bytes == 0 {
			t.Errorf("%s: %d frames, %d bytes; want %d frames", name, d.Packets, d.Bytes, want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("drops %+v, want %v", got, want)
	}
}

// flood sends frames of every kind that makes a host take note of a neighbour, from
// as many addresses on the link.
func flood(l *lab, from string, count int) {
	p := placeOf(from)
	gate := p.gatewayMAC()
	target := netip.MustParseAddr("fe80::1").AsSlice()
	for i := range count {
		source := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 12: 9, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}).String()
		global := netip.AddrFrom16([16]byte{0: 0xfd, 1: 1, 12: 9, 14: byte(i >> 8), 15: byte(i)}).String()
		option := append([]byte{1, 1}, parseMAC(p.mac)...)
		solicitation := slices.Concat(make([]byte, 4), target, option)
		l.send(from, icmp6Frame(gate, p.mac, source, "fe80::1", neighbourSolicitation, solicitation, i))
		l.send(from, icmp6Frame(gate, p.mac, source, "ff02::2", routerSolicitation, slices.Concat(make([]byte, 4), option), i))
		l.send(from, icmp6Frame(gate, p.mac, source, "fe80::1", routerAdvertisement, slices.Concat(make([]byte, 12), option), i))
		l.send(from, echoFrame(gate, p.mac, global, "fd01::1", i))
		sender := fmt.Sprintf("10.1.0.%d", 20+i%230)
		l.send(from, arpFrame(gate, p.mac, 1, p.mac, sender, hostIP4, i))
		l.send(from, echoFrame(gate, p.mac, sender, hostIP4, i))
	}
}

// TestNeighboursAreFew: a container cannot fill the host's table of neighbours, and
// one with NET_ADMIN is heard at addresses of its choice all the same.
func TestNeighboursAreFew(t *testing.T) {
	l := newLab(t, false)
	l.host.address("br-a", "fe80::1/64")
	resync(t, newBackend(t, l.host), labRows(false)...)
	before := l.neighbours()
	flood(l, "a1", 1500)
	l.passed(t, "a1")
	if got := l.neighbours(); got != before {
		t.Errorf("a plain container makes %d neighbours", got-before)
	}
	cap := placeOf("cap")
	l.send("cap", arpFrame(broadcastMAC, cap.mac, 1, cap.mac, floating4, hostIP4, 1))
	if !until(func() bool { return l.knows(floating4) }) {
		t.Error("the host does not hear of a floating address")
	}
	begun := time.Now()
	flood(l, "cap", 1500)
	l.passed(t, "cap")
	most := newAtOnce + newASecond*(int(time.Since(begun)/time.Second)+2)
	if got := l.neighbours() - before; got > most {
		t.Errorf("a container with NET_ADMIN makes %d neighbours, want %d at most", got, most)
	}
}

// TestNextHopsAreFew: nor can it by what it sends to, and whoever the host finds is
// reached.
func TestNextHopsAreFew(t *testing.T) {
	l := newLab(t, false)
	resync(t, newBackend(t, l.host), labRows(false)...)
	a1, before := placeOf("a1"), l.neighbours()
	begun := time.Now()
	for i := range 1500 {
		for _, net := range []string{"fd01::9:%x", "2001:db8::9:%x"} { // its own network, and another machine's
			l.send("a1", udpFrame(a1.gatewayMAC(), a1.mac, a1.ip6, fmt.Sprintf(net, i), 1, 2, i))
		}
		l.send("a1", udpFrame(a1.gatewayMAC(), a1.mac, a1.ip4, fmt.Sprintf("192.0.2.%d", 3+i%250), 1, uint16(i), i))
	}
	l.send("a1", udpFrame(a1.gatewayMAC(), a1.mac, a1.ip4, placeOf("a2").ip4, 1, 2, 7777))
	if l.arrives(7777, "a2") == nil {
		t.Error("a neighbour is not reached by way of the gateway")
	}
	most := hopsAtOnce + hopsASecond*(int(time.Since(begun)/time.Second)+2)
	if got := l.neighbours() - before; got > most || got == 0 {
		t.Errorf("%d neighbours, want %d at most", got, most)
	}
}

// TestMACsAreFew: nor the bridge's table of MAC addresses.
func TestMACsAreFew(t *testing.T) {
	l := newLab(t, false)
	b := newBackend(t, l.host)
	resync(t, b, labRows(false)...)
	cap, a2 := placeOf("cap"), placeOf("a2")
	begun := time.Now()
	const count = 1000
	for i := range count {
		mac := fmt.Sprintf("02:99:00:00:%02x:%02x", i>>8, i&255)
		for range 2 { // a second frame is no news
			l.send("cap", udpFrame(a2.mac, mac, floating4, a2.ip4, 1, 2, i))
		}
	}
	l.send("cap", udpFrame(a2.mac, cap.mac, floating4, a2.ip4, 1, 2, 7777))
	if l.arrives(7777, "a2") == nil {
		t.Error("its own MAC address is held back")
	}
	most := newAtOnce + newASecond*(int(time.Since(begun)/time.Second)+2)
	all, err := l.host.link.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE})
	l.host.must(err)
	learned := 0
	for _, n := range all {
		if strings.HasPrefix(n.HardwareAddr.String(), "02:99:") {
			learned++
		}
	}
	if learned == 0 || learned > most {
		t.Errorf("the bridge learned %d MAC addresses, want %d at most", learned, most)
	}
	drops, err := b.Drops(t.Context())
	if err != nil || len(drops) != 1 || drops[0].Kind != facts.DropFlood || drops[0].Packets < 2*(count-uint64(most)) {
		t.Errorf("drops %+v (%v)", drops, err)
	}
}

// passed waits until the host has seen all that was sent from a place.
func (l *lab) passed(t *testing.T, from string) {
	t.Helper()
	p := placeOf(from)
	l.send(from, udpFrame(p.gatewayMAC(), p.mac, p.ip4, hostIP4, 1, 2, 7777))
	if l.arrives(7777, "host") == nil {
		t.Fatalf("nothing from %s gets to the host", from)
	}
}

// neighbours counts those of the host in both families, groups not included.
func (l *lab) neighbours() (count int) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := l.host.link.NeighList(0, family)
		l.host.must(err)
		for _, n := range all {
			if !n.IP.IsMulticast() {
				count++
			}
		}
	}
	return count
}

func (l *lab) knows(ip string) bool {
	all, err := l.host.link.NeighList(0, unix.AF_INET)
	l.host.must(err)
	for _, n := range all {
		if n.IP.String() == ip && n.HardwareAddr != nil {
			return true
		}
	}
	return false
}

func until(is func() bool) bool {
	for end := time.Now().Add(enough); time.Now().Before(end); time.Sleep(time.Millisecond) { // poll
		if is() {
			return true
		}
	}
	return false
}
