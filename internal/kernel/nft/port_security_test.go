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
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
)

const (
	floating4 = "10.1.0.200"
	outside4  = "203.0.113.9"
	hostIP4   = "10.1.0.1"
	linkLocal = "fe80::ff:fe00:a01" // of a1's MAC address
	stranger  = "02:00:00:00:0a:99"

	enough = 5 * time.Second
)

// TestDrops: what is dropped is counted, by port and kind; ports that behave are
// not in the list, and those that are gone are forgotten.
func TestDrops(t *testing.T) {
	l := firewalltest.NewLab(t, false)
	b := newBackend(t, l.Host)
	rows := firewalltest.Rows(false)
	resync(t, b, rows...)
	a1 := firewalltest.Speaker{Place: firewalltest.PlaceOf("a1")}
	for i := range 3 {
		l.Send("a1", a1.From(outside4)(i))
	}
	l.Send("a1", a1.ARP(2, a1.MAC, hostIP4, hostIP4)(9))
	l.Send("a1", a1.Advert(linkLocal, "fe80::1")(9))
	l.Send("a1", a1.ICMP6(134, linkLocal, 12)(9))
	l.Send("a1", a1.UDP(stranger, a1.IP4, 1, 2)(9))
	l.Send("a1", a1.Raw(frames.Test)(9))
	l.Send("cap", firewalltest.Speaker{Place: firewalltest.PlaceOf("cap")}.From(a1.IP4)(9))
	l.Send("i1", frames.Between(firewalltest.PlaceOf("i2").MAC, firewalltest.PlaceOf("i1").MAC, firewalltest.PlaceOf("i1").IP4, firewalltest.PlaceOf("i2").IP4).UDP(1, 2, 900))
	l.Send("a1", a1.From(a1.IP4)(901))
	if l.Arrives(900, "i2") == nil || l.Arrives(901, "a2") == nil {
		t.Fatal("what is allowed does not pass")
	}
	want := map[string]uint64{"va1 source": 3, "va1 arp": 1, "va1 discovery": 1, "va1 service": 1, "va1 mac": 1, "va1 frame": 1, "vcap source": 1}
	checkDrops(t, b, want)
	if r := resync(t, b, rows...); r.Writes != 0 {
		t.Errorf("counters are taken for drift: %+v", r)
	}
	cap := firewalltest.PlaceOf("cap")
	l.Send("cap", frames.Between(frames.Broadcast, cap.MAC, floating4, hostIP4).ARP(1, cap.MAC, 1))
	list := func(set string) string { return l.Host.NFT("list", "set", "bridge", "linkspan", set) }
	if !until(func() bool { return strings.Contains(list(setHeard4), "vcap") }) {
		t.Error("the host takes no note of a floating address")
	}
	apply(t, b, desired.Delta{Owner: "test", Old: cap.Pin()})
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
func flood(l *firewalltest.Lab, from string, count int) {
	p := firewalltest.PlaceOf(from)
	gate := p.GatewayMAC()
	target := netip.MustParseAddr("fe80::1").AsSlice()
	for i := range count {
		source := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 12: 9, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}).String()
		global := netip.AddrFrom16([16]byte{0: 0xfd, 1: 1, 12: 9, 14: byte(i >> 8), 15: byte(i)}).String()
		option := append([]byte{1, 1}, frames.MAC(p.MAC)...)
		solicitation := slices.Concat(make([]byte, 4), target, option)
		l.Send(from, frames.Between(gate, p.MAC, source, "fe80::1").ICMP6(neighbourSolicitation, solicitation, i))
		l.Send(from, frames.Between(gate, p.MAC, source, "ff02::2").ICMP6(routerSolicitation, slices.Concat(make([]byte, 4), option), i))
		l.Send(from, frames.Between(gate, p.MAC, source, "fe80::1").ICMP6(routerAdvertisement, slices.Concat(make([]byte, 12), option), i))
		l.Send(from, frames.Between(gate, p.MAC, global, "fd01::1").Echo(i))
		sender := fmt.Sprintf("10.1.0.%d", 20+i%230)
		l.Send(from, frames.Between(gate, p.MAC, sender, hostIP4).ARP(1, p.MAC, i))
		l.Send(from, frames.Between(gate, p.MAC, sender, hostIP4).Echo(i))
	}
}

// TestNeighboursAreFew: a container cannot fill the host's table of neighbours, and
// one with NET_ADMIN is heard at addresses of its choice all the same.
func TestNeighboursAreFew(t *testing.T) {
	l := firewalltest.NewLab(t, false)
	l.Host.Address("br-a", "fe80::1/64")
	resync(t, newBackend(t, l.Host), firewalltest.Rows(false)...)
	before := neighbours(l)
	flood(l, "a1", 1500)
	passed(t, l, "a1")
	if got := neighbours(l); got != before {
		t.Errorf("a plain container makes %d neighbours", got-before)
	}
	cap := firewalltest.PlaceOf("cap")
	l.Send("cap", frames.Between(frames.Broadcast, cap.MAC, floating4, hostIP4).ARP(1, cap.MAC, 1))
	if !until(func() bool { return knows(l, floating4) }) {
		t.Error("the host does not hear of a floating address")
	}
	begun := time.Now()
	flood(l, "cap", 1500)
	passed(t, l, "cap")
	most := newAtOnce + newASecond*(int(time.Since(begun)/time.Second)+2)
	if got := neighbours(l) - before; got > most {
		t.Errorf("a container with NET_ADMIN makes %d neighbours, want %d at most", got, most)
	}
}

// TestNextHopsAreFew: nor can it by what it sends to, and whoever the host finds is
// reached.
func TestNextHopsAreFew(t *testing.T) {
	l := firewalltest.NewLab(t, false)
	resync(t, newBackend(t, l.Host), firewalltest.Rows(false)...)
	a1, before := firewalltest.PlaceOf("a1"), neighbours(l)
	begun := time.Now()
	for i := range 1500 {
		for _, net := range []string{"fd01::9:%x", "2001:db8::9:%x"} { // its own network, and another machine's
			l.Send("a1", frames.Between(a1.GatewayMAC(), a1.MAC, a1.IP6, fmt.Sprintf(net, i)).UDP(1, 2, i))
		}
		l.Send("a1", frames.Between(a1.GatewayMAC(), a1.MAC, a1.IP4, fmt.Sprintf("192.0.2.%d", 3+i%250)).UDP(1, uint16(i), i))
	}
	l.Send("a1", frames.Between(a1.GatewayMAC(), a1.MAC, a1.IP4, firewalltest.PlaceOf("a2").IP4).UDP(1, 2, 7777))
	if l.Arrives(7777, "a2") == nil {
		t.Error("a neighbour is not reached by way of the gateway")
	}
	most := hopsAtOnce + hopsASecond*(int(time.Since(begun)/time.Second)+2)
	if got := neighbours(l) - before; got > most || got == 0 {
		t.Errorf("%d neighbours, want %d at most", got, most)
	}
}

// TestMACsAreFew: nor the bridge's table of MAC addresses.
func TestMACsAreFew(t *testing.T) {
	l := firewalltest.NewLab(t, false)
	b := newBackend(t, l.Host)
	resync(t, b, firewalltest.Rows(false)...)
	cap, a2 := firewalltest.PlaceOf("cap"), firewalltest.PlaceOf("a2")
	begun := time.Now()
	const count = 1000
	for i := range count {
		mac := fmt.Sprintf("02:99:00:00:%02x:%02x", i>>8, i&255)
		for range 2 { // a second frame is no news
			l.Send("cap", frames.Between(a2.MAC, mac, floating4, a2.IP4).UDP(1, 2, i))
		}
	}
	l.Send("cap", frames.Between(a2.MAC, cap.MAC, floating4, a2.IP4).UDP(1, 2, 7777))
	if l.Arrives(7777, "a2") == nil {
		t.Error("its own MAC address is held back")
	}
	most := newAtOnce + newASecond*(int(time.Since(begun)/time.Second)+2)
	all, err := l.Host.Link.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE})
	l.Host.Must(err)
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
func passed(t *testing.T, l *firewalltest.Lab, from string) {
	t.Helper()
	p := firewalltest.PlaceOf(from)
	l.Send(from, frames.Between(p.GatewayMAC(), p.MAC, p.IP4, hostIP4).UDP(1, 2, 7777))
	if l.Arrives(7777, "host") == nil {
		t.Fatalf("nothing from %s gets to the host", from)
	}
}

// neighbours counts those of the host in both families, groups not included.
func neighbours(l *firewalltest.Lab) (count int) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := l.Host.Link.NeighList(0, family)
		l.Host.Must(err)
		for _, n := range all {
			if !n.IP.IsMulticast() {
				count++
			}
		}
	}
	return count
}

func knows(l *firewalltest.Lab, ip string) bool {
	all, err := l.Host.Link.NeighList(0, unix.AF_INET)
	l.Host.Must(err)
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
