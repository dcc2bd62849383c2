package bridge

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/driver"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/model"
)

// TestPacketSizes: what the host sends to containers is as large as packets get;
// what these send, as large as the smallest way out allows.
func TestPacketSizes(t *testing.T) {
	able := func(out4, out6 int) facts.Packets {
		return facts.Packets{Large4: true, Large6: true, Out4: out4, Out6: out6}
	}
	usual, large := desired.PacketSizes{}, desired.PacketSizes{IPv4: 196608, IPv6: 196608}
	for _, c := range []struct {
		name            string
		facts           facts.Packets
		internal        bool
		option          string
		host, container desired.PacketSizes
	}{
		{"the usual host", able(65536, 65536), false, "", large, usual},
		{"no way out of the host", able(0, 0), false, "", large, usual},
		{"a way out that takes less than usual", able(16384, 16384), false, "", large, usual},
		{"a way out that takes more", able(131072, 180000), false, "", large, desired.PacketSizes{IPv4: 131072, IPv6: 180000}},
		{"more for IPv6 only", able(65536, 180000), false, "", large, desired.PacketSizes{IPv6: 180000}},
		{"a way out that takes all there is", able(524280, 524280), false, "", large, large},
		{"an internal network", able(65536, 65536), true, "", large, large},
		{"an internal network, large ways out", able(524280, 524280), true, "", large, large},
		{"a kernel without it for IPv4", facts.Packets{Large6: true, Out6: 65536}, false, "", desired.PacketSizes{IPv6: 196608}, usual},
		{"a kernel without it", facts.Packets{}, true, "", usual, usual},
		{"asked for", able(65536, 65536), false, "524280",
			desired.PacketSizes{IPv4: 524280, IPv6: 524280}, desired.PacketSizes{IPv4: 524280, IPv6: 524280}},
		{"asked for the usual", able(65536, 65536), false, "65536", usual, usual},
		{"asked for the usual on an internal network", able(65536, 65536), true, "65536", usual, usual},
		{"asked for, a kernel without it", facts.Packets{}, false, "196608", usual, usual},
	} {
		n := network(nil)
		if n.Internal = c.internal; c.option != "" {
			n.Options = map[string]string{OptionPackets: c.option}
		}
		view := driver.View{Packets: c.facts, Network: n}
		if got := onlyLink(t, view).Packets; got != c.host {
			t.Errorf("%s: the bridge takes%s, want%s", c.name, got, c.host)
		}
		view.Endpoint = &model.Endpoint{ID: "e1", Interface: "eth0"}
		pair := onlyLink(t, view)
		if pair.Packets != c.host || pair.Peer.Packets != c.container {
			t.Errorf("%s: the host's end takes%s, want%s; the container's%s, want%s", c.name, pair.Packets, c.host, pair.Peer.Packets, c.container)
		}
	}
}

// onlyLink returns the link among the rows of a network or an endpoint.
func onlyLink(t *testing.T, v driver.View) desired.Link {
	t.Helper()
	rows, err := Driver{}.Plan(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if l, ok := r.(desired.Link); ok {
			return l
		}
	}
	t.Fatalf("no link in %v", rows)
	return desired.Link{}
}

func TestPacketOption(t *testing.T) {
	for value, want := range map[string]string{
		"":         "failed to parse com.linkspan.gso.max_size value:  (",
		"big":      "failed to parse com.linkspan.gso.max_size value: big (",
		"192k":     "failed to parse com.linkspan.gso.max_size value: 192k (",
		"0":        "invalid com.linkspan.gso.max_size: 0",
		"-196608":  "invalid com.linkspan.gso.max_size: -196608",
		"65535":    "invalid com.linkspan.gso.max_size: 65535",
		"524281":   "choose a number of bytes from 65536 to 524280",
		"99999999": "invalid com.linkspan.gso.max_size: 99999999",
		"65536":    "", "196608": "", "524280": "",
	} {
		err := Driver{}.Validate(network(map[string]string{OptionPackets: value}), func(func(model.Network) bool) {})
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", value, err)
			}
			continue
		}
		if model.KindOf(err) != model.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", value, err, want)
		}
	}
}
