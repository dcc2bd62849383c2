package kernel_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// withPackets returns kerneltest.Attached with sizes on the host's links, and on
// the containers' ends.
func withPackets(t *testing.T, n int, host, container desired.PacketSizes) desired.State {
	t.Helper()
	s := kerneltest.Attached(t, n)
	for owner := range s.Owners() {
		var rows []desired.Row
		for r := range s.Owned(owner) {
			if l, ok := r.(desired.Link); ok && l.Name != kerneltest.Parent && l.Name != kerneltest.Outlet && !l.OnParent() {
				l.Packets = host
				if l.Peer != nil {
					peer := *l.Peer
					peer.Packets = container
					l.Peer = &peer
				}
				r = l
			}
			rows = append(rows, r)
		}
		s = kerneltest.With(t, s, owner, rows...)
	}
	return s
}

// packets reads the sizes of a link.
func (l lab) packets(t *testing.T, namespace, name string) link.Packets {
	t.Helper()
	var got link.Info
	err := l.Netns().Do(t.Context(), namespace, func() error {
		c, err := rtnl.Open(new(atomic.Int64))
		if err != nil {
			return err
		}
		defer c.Close()
		got, err = link.Get(c, name)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return got.Packets
}

// possible leaves what the kernel is capable of.
func (l lab) possible(t *testing.T, sizes desired.PacketSizes) desired.PacketSizes {
	t.Helper()
	h, err := l.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !h.Packets.Large4 {
		sizes.IPv4 = 0
	}
	if !h.Packets.Large6 {
		t.Skip("the kernel takes no large packets")
	}
	return sizes
}

// expect compares the sizes of a bridge and both ends of a port with what is
// wanted.
func (l lab) expect(t *testing.T, host, container desired.PacketSizes) {
	t.Helper()
	for _, end := range []struct {
		namespace, name string
		sizes           desired.PacketSizes
	}{{"", kerneltest.Bridge, host}, {"", kerneltest.Port(0), host}, {kerneltest.Space(0), "eth0", container}} {
		size4, size6 := end.sizes.IPv4, max(end.sizes.IPv6, 65536)
		if size4 == 0 && l.packets(t, "", "lo").GSO4 != 0 {
			size4 = 65536
		}
		want := link.Packets{GSO4: size4, GRO4: size4, GSO6: size6, GRO6: size6, Limit: 524280}
		if got := l.packets(t, end.namespace, end.name); got != want {
			t.Errorf("%s %s: %v, want %v", end.namespace, end.name, got, want)
		}
	}
}

// TestPackets makes links take large packets, smaller ones and the usual ones, in
// place: a bridge and both ends of its port are as wanted, and are written once.
func TestPackets(t *testing.T) {
	l := newLab(t)
	prev := desired.State{}
	usual, large := desired.PacketSizes{}, desired.PacketSizes{IPv4: 196608, IPv6: 196608}
	for _, c := range []struct{ host, container desired.PacketSizes }{
		{large, large}, {large, usual}, {large, desired.PacketSizes{IPv4: 131072, IPv6: 180000}}, {usual, large},
		{desired.PacketSizes{IPv4: 131072}, desired.PacketSizes{IPv4: 131072}}, {usual, usual}, {large, usual},
		{desired.PacketSizes{IPv4: 524280, IPv6: 524280}, large},
	} {
		host, container := l.possible(t, c.host), l.possible(t, c.container)
		want := withPackets(t, 2, host, container)
		l.apply(t, prev, want)
		l.expect(t, host, container)
		before := l.Writes()
		l.apply(t, desired.State{}, want)
		r, err := l.Resync(t.Context(), want)
		if err != nil || len(r.Drift) != 0 || l.Writes() != before {
			t.Errorf("%+v again: %d writes, %+v, %v", c, l.Writes()-before, r, err)
		}
		prev = want
	}
}

// TestLoopback raises the kernel's default, and leaves any other size alone.
func TestLoopback(t *testing.T) {
	l := newLab(t)
	if l.possible(t, desired.PacketSizes{IPv4: 196608}).IPv4 == 0 {
		t.Skip("the kernel takes no large IPv4 packets")
	}
	want := kerneltest.With(t, desired.State{}, desired.HostOwner, desired.Loopback{Packets: 196608})
	l.apply(t, desired.State{}, want)
	for _, c := range []struct {
		byHand int // with gso_max_size, which sets that of IPv4 if it is not larger than usual; 0: nothing is changed
		size   int
		drift  string
	}{
		{0, 196608, ""}, {65535, 65535, ""}, {32768, 32768, ""},
		{65536, 196608, "loopback host lo gso_ipv4_max_size 196608: gso_ipv4 65536, the kernel's default"},
	} {
		if c.byHand != 0 {
			l.sh(t, "", "ip link set lo gso_max_size "+strconv.Itoa(c.byHand))
		}
		r, err := l.Resync(t.Context(), want)
		if got := strings.Join(r.Drift, "; "); err != nil || got != c.drift || (r.Writes != 0) != (c.drift != "") {
			t.Errorf("after %d: %+v, %v", c.byHand, r, err)
		}
		if got := l.packets(t, "", "lo"); got.GSO4 != c.size || got.GRO4 != 65536 {
			t.Errorf("after %d: %v, want gso_ipv4 %d", c.byHand, got, c.size)
		}
	}
	l.apply(t, want, desired.State{})
	if got := l.packets(t, "", "lo").GSO4; got != 196608 {
		t.Errorf("it was set back to %d", got)
	}
}

// TestPacketsCostNoMessage: a port of a bridge that has one is attached with as
// many writes as without sizes.
func TestPacketsCostNoMessage(t *testing.T) {
	var writes [2]int
	for i, sizes := range []desired.PacketSizes{{}, {IPv4: 196608, IPv6: 196608}} {
		l := newLab(t)
		sizes = l.possible(t, sizes)
		one, two := withPackets(t, 1, sizes, sizes), withPackets(t, 2, sizes, sizes)
		l.apply(t, desired.State{}, one)
		before := l.Writes()
		l.apply(t, one, two)
		writes[i] = l.Writes() - before
	}
	if writes[0] != writes[1] {
		t.Errorf("%d writes without sizes, %d with", writes[0], writes[1])
	}
}

// TestPacketsOfBridges: what a bridge cannot take is not asked of it for ever, and
// a bridge of somebody else keeps what it has.
func TestPacketsOfBridges(t *testing.T) {
	sizes := desired.PacketSizes{IPv6: 196608}
	t.Run("no port", func(t *testing.T) {
		l := newLab(t)
		want := withPackets(t, 0, l.possible(t, sizes), sizes)
		l.apply(t, desired.State{}, want)
		if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
			t.Errorf("resync: %+v, %v", r, err)
		}
	})
	t.Run("made by hand", func(t *testing.T) {
		l := newLab(t)
		l.sh(t, "", "ip link add "+kerneltest.Bridge+" type bridge")
		want := withPackets(t, 1, l.possible(t, sizes), sizes)
		rows := []desired.Row{}
		for r := range want.Owned(kerneltest.NetworkOwner) {
			if bridge, ok := r.(desired.Link); ok {
				bridge.Adopt = true
				r = bridge
			}
			rows = append(rows, r)
		}
		want = kerneltest.With(t, want, kerneltest.NetworkOwner, rows...)
		l.apply(t, desired.State{}, want)
		if got := l.packets(t, "", kerneltest.Bridge).GSO6; got != 65536 {
			t.Errorf("the bridge takes %d bytes", got)
		}
		if got := l.packets(t, "", kerneltest.Port(0)).GSO6; got != 196608 {
			t.Errorf("the port takes %d bytes", got)
		}
		if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
			t.Errorf("resync: %+v, %v", r, err)
		}
	})
}

// TestObserveUplink reads what the interface of the default route takes.
func TestObserveUplink(t *testing.T) {
	l := newLab(t)
	l.possible(t, desired.PacketSizes{})
	l.sh(t, "", `ip link add wan gso_max_size 150000 type veth peer name isp && ip addr add 192.0.2.2/24 dev wan &&
		ip link set wan up && ip link set isp up && ip route add default via 192.0.2.1`)
	h, err := l.Observe(t.Context())
	if err != nil || h.Packets.Out6 != 150000 || h.Packets.Large4 && h.Packets.Out4 != 65536 {
		t.Errorf("observed %+v, %v", h.Packets, err)
	}
}

// TestPacketDrift lets somebody change sizes by hand.
func TestPacketDrift(t *testing.T) {
	for _, c := range []struct{ namespace, link string }{{"", kerneltest.Bridge}, {"", kerneltest.Port(0)}, {kerneltest.Space(0), "eth0"}} {
		l := newLab(t)
		sizes := l.possible(t, desired.PacketSizes{IPv4: 196608, IPv6: 196608})
		want := withPackets(t, 1, sizes, sizes)
		l.apply(t, desired.State{}, want)
		l.sh(t, c.namespace, "ip link set "+c.link+" gso_max_size 65536")
		r, err := l.Resync(t.Context(), want)
		if err != nil || len(r.Drift) != 1 || !strings.Contains(r.Drift[0], "packet sizes (gso 65536") {
			t.Errorf("%s: %+v, %v", c.link, r, err)
		}
		l.expect(t, sizes, sizes)
	}
}
