package link

import (
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
)

func TestPacketDifferences(t *testing.T) {
	usual := Packets{65536, 65536, 65536, 65536, 524280}
	large := Packets{196608, 196608, 196608, 196608, 524280}
	both := desired.PacketSizes{IPv4: 196608, IPv6: 196608}
	for _, c := range []struct {
		name string
		have Packets
		want desired.PacketSizes
		text string
	}{
		{"as wanted", large, both, ""},
		{"usual, and nothing is wanted", usual, desired.PacketSizes{}, ""},
		{"larger", usual, both, "packet sizes (gso 65536, gso_ipv4 65536, gro 65536, gro_ipv4 65536) instead of (gso 196608, gso_ipv4 196608, gro 196608, gro_ipv4 196608)"},
		{"back to the default", large, desired.PacketSizes{},
			"packet sizes (gso 196608, gso_ipv4 196608, gro 196608, gro_ipv4 196608) instead of (gso 65536, gso_ipv4 65536, gro 65536, gro_ipv4 65536)"},
		{"one family goes back", large, desired.PacketSizes{IPv4: 196608},
			"packet sizes (gso 196608, gso_ipv4 196608, gro 196608, gro_ipv4 196608) instead of (gso 65536, gso_ipv4 196608, gro 65536, gro_ipv4 196608)"},
		{"less than the default, and nothing is wanted", Packets{16384, 16384, 65536, 65536, 16384}, desired.PacketSizes{}, ""},
		{"a bridge without ports", Packets{65536, 65536, 65536, 65536, 65536}, both, ""},
		{"a kernel without IPv4's", Packets{GSO6: 196608, GRO6: 196608, Limit: 524280}, desired.PacketSizes{IPv6: 196608}, ""},
		{"wanted for IPv4 of a kernel without it", Packets{GSO6: 196608, GRO6: 196608, Limit: 524280}, both, ""},
		{"a kernel that tells nothing", Packets{}, both, ""},
		{"a kernel that tells no limit", Packets{GSO6: 65536}, both, "packet sizes (gso 65536, gso_ipv4 0, gro 0, gro_ipv4 0) instead of (gso 196608, gso_ipv4 0, gro 0, gro_ipv4 0)"},
	} {
		text := ""
		for _, d := range c.have.differences(c.want) {
			text += d.text
		}
		if text != c.text {
			t.Errorf("%s: %q, want %q", c.name, text, c.text)
		}
	}
}

func TestLargePacketsOfKernels(t *testing.T) {
	for _, c := range []struct {
		name           string
		lo             Packets
		large4, large6 bool
	}{
		{"Linux 6.3", Packets{65536, 65536, 65536, 65536, 524280}, true, true},
		{"Linux 5.19", Packets{GSO6: 65536, GRO6: 65536, Limit: 524280}, false, true},
		{"Linux 5.10", Packets{GSO6: 65536}, false, false},
	} {
		if c.lo.Large4() != c.large4 || c.lo.Large6() != c.large6 {
			t.Errorf("%s: IPv4 %t, IPv6 %t", c.name, c.lo.Large4(), c.lo.Large6())
		}
	}
}
