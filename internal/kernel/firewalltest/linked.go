package firewalltest

import (
	"net/netip"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/frames"
	"github.com/linkspan/linkspan/internal/model"
)

// linkRows let q2 reach ports of q1, who may not talk to one another otherwise.
func linkRows() []desired.Row {
	q1, q2 := PlaceOf("q1"), PlaceOf("q2")
	allow := func(from, to string, first, last uint16) desired.Row {
		return desired.Allow{
			Bridge: "br-q", From: netip.MustParseAddr(from), To: netip.MustParseAddr(to),
			Protocol: model.UDP, First: first, Last: last,
		}
	}
	return []desired.Row{
		allow(q2.IP4, q1.IP4, 6000, 6000), allow(q2.IP6, q1.IP6, 6000, 6000),
		allow(q2.IP4, q1.IP4, 6100, 6109), allow(q2.IP6, q1.IP6, 6100, 6109),
	}
}

// linkTrials: ports are open in the one direction, answers in the other, and
// nothing else is.
func linkTrials() []trial {
	const client = 5000
	var out []trial
	for _, c := range []struct {
		what, from, to string
		sport, dport   uint16
		arrive         bool
		state          uint32
	}{
		{"link", "q2", "q1", client, 6000, true, 0},
		{"link, answer", "q1", "q2", 6000, client, true, StateEstablished},
		{"link, range", "q2", "q1", client, 6109, true, 0},
		{"link, port not exposed", "q2", "q1", client, 6110, false, 0},
		{"link, against its direction", "q1", "q2", client, 6000, false, 0},
		{"link, from somebody else's network", "a1", "q1", client, 6000, false, 0},
	} {
		from, to := PlaceOf(c.from), PlaceOf(c.to)
		mac := to.MAC
		if from.Bridge != to.Bridge {
			mac = from.GatewayMAC()
		}
		for _, pair := range [][2]string{{from.IP4, to.IP4}, {from.IP6, to.IP6}} {
			out = append(out, trial{
				name: c.what + ", to " + pair[1], from: c.from, to: c.to, arrive: c.arrive, state: c.state,
				frame: func(id int) []byte { return frames.Between(mac, from.MAC, pair[0], pair[1]).UDP(c.sport, c.dport, id) },
			})
		}
	}
	return out
}
