package kernel_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/rtnl"
)

// withPackets returns kerneltest.Attached with sizes on every link.
func withPackets(t *testing.T, n int, sizes desired.PacketSizes) desired.State {
	t.Helper()
	s := kerneltest.Attached(t, n)
	for owner := range s.Owners() {
		var rows []desired.Row
		for r := range s.Owned(owner) {
			if l, ok := r.(desired.Link); ok {
				l.Packets = sizes
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
func (l lab) expect(t *testing.T, sizes desired.PacketSizes) {
	t.Helper()
	sizes4 := sizes.IPv4
	if sizes4 == 0 && l.packets(t, "", "lo").GSO4 != 0 {
		sizes4 = 65536
	}
	want := link.Packets{GSO4: sizes4, GRO4: sizes4, GSO6: max(sizes.IPv6, 65536), GRO6: max(sizes.IPv6, 65536), Limit: 524280}
	for _, end := range [][2]string{{"", kerneltest.Bridge}, {"", kerneltest.Port(0)}, {kerneltest.Space(0), "eth0"}} {
		if got := l.packets(t, end[0], end[1]); got != want {
			t.Errorf("%s %s: %v, want %v", end[0], end[1], got, want)
		}
	}
}

// TestPackets makes links take large packets, smaller ones and the usual ones, in
// place: a bridge and both ends of its port are as wanted, and are written once.
func TestPackets(t *testing.T) {
	l := newLab(t)
	prev := desired.State{}
	for _, sizes := range []desired.PacketSizes{
		{IPv4: 196608, IPv6: 196608}, {IPv4: 131072, IPv6: 180000}, {IPv4: 131072}, {}, {IPv4: 524280, IPv6: 524280},
	} {
		sizes = l.possible(t, sizes)
		want := withPackets(t, 2, sizes)
		l.apply(t, prev, want)
		l.expect(t, sizes)
		before := l.Writes()
		l.apply(t, desired.State{}, want)
		r, err := l.Resync(t.Context(), want)
		if err != nil || len(r.Drift) != 0 || l.Writes() != before {
			t.Errorf("%+v again: %d writes, %+v, %v", sizes, l.Writes()-before, r, err)
		}
		prev = want
	}
}

// TestPacketsCostNoMessage: a port of a bridge that has one is attached with as
// many writes as without sizes.
func TestPacketsCostNoMessage(t *testing.T) {
	var writes [2]int
	for i, sizes := range []desired.PacketSizes{{}, {IPv4: 196608, IPv6: 196608}} {
		l := newLab(t)
		sizes = l.possible(t, sizes)
		one, two := withPackets(t, 1, sizes), withPackets(t, 2, sizes)
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
		want := withPackets(t, 0, l.possible(t, sizes))
		l.apply(t, desired.State{}, want)
		if r, err := l.Resync(t.Context(), want); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
			t.Errorf("resync: %+v, %v", r, err)
		}
	})
	t.Run("made by hand", func(t *testing.T) {
		l := newLab(t)
		l.sh(t, "", "ip link add "+kerneltest.Bridge+" type bridge")
		want := withPackets(t, 1, l.possible(t, sizes))
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
		want := withPackets(t, 1, sizes)
		l.apply(t, desired.State{}, want)
		l.sh(t, c.namespace, "ip link set "+c.link+" gso_max_size 65536")
		r, err := l.Resync(t.Context(), want)
		if err != nil || len(r.Drift) != 1 || !strings.Contains(r.Drift[0], "packet sizes (gso 65536") {
			t.Errorf("%s: %+v, %v", c.link, r, err)
		}
		l.expect(t, sizes)
	}
}
