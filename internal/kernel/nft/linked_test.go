package nft

import (
	"net/netip"
	"testing"

	"github.com/google/nftables/expr"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/model"
)

// linkRows let q2 reach ports of q1, who may not talk to one another otherwise.
func linkRows() []desired.Row {
	q1, q2 := placeOf("q1"), placeOf("q2")
	allow := func(from, to string, first, last uint16) desired.Row {
		return desired.Allow{
			Bridge: "br-q", From: netip.MustParseAddr(from), To: netip.MustParseAddr(to),
			Protocol: model.UDP, First: first, Last: last,
		}
	}
	return []desired.Row{
		allow(q2.ip4, q1.ip4, 6000, 6000), allow(q2.ip6, q1.ip6, 6000, 6000),
		allow(q2.ip4, q1.ip4, 6100, 6109), allow(q2.ip6, q1.ip6, 6100, 6109),
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
		{"link, answer", "q1", "q2", 6000, client, true, expr.CtStateBitESTABLISHED},
		{"link, range", "q2", "q1", client, 6109, true, 0},
		{"link, port not exposed", "q2", "q1", client, 6110, false, 0},
		{"link, against its direction", "q1", "q2", client, 6000, false, 0},
		{"link, from somebody else's network", "a1", "q1", client, 6000, false, 0},
	} {
		from, to := placeOf(c.from), placeOf(c.to)
		mac := to.mac
		if from.bridge != to.bridge {
			mac = from.gatewayMAC()
		}
		for _, pair := range [][2]string{{from.ip4, to.ip4}, {from.ip6, to.ip6}} {
			out = append(out, trial{
				name: c.what + ", to " + pair[1], from: c.from, to: c.to, arrive: c.arrive, state: c.state,
				frame: func(id int) []byte { return udpFrame(mac, from.mac, pair[0], pair[1], c.sport, c.dport, id) },
			})
		}
	}
	return out
}

func TestLinksThatCannotBe(t *testing.T) {
	good := desired.Allow{
		Bridge: "br-q", From: netip.MustParseAddr("10.4.0.12"), To: netip.MustParseAddr("10.4.0.11"),
		Protocol: model.TCP, First: 1, Last: 65535,
	}
	if elements, err := render(good); err != nil || len(elements) != 2 {
		t.Fatalf("%v: %v, %v", good, elements, err)
	}
	for what, change := range map[string]func(*desired.Allow){
		"protocol":    func(r *desired.Allow) { r.Protocol = "gre" },
		"no port":     func(r *desired.Allow) { r.First = 0 },
		"backwards":   func(r *desired.Allow) { r.First, r.Last = 2, 1 },
		"no source":   func(r *desired.Allow) { r.From = netip.Addr{} },
		"families":    func(r *desired.Allow) { r.To = netip.MustParseAddr("fd04::11") },
		"unspecified": func(r *desired.Allow) { r.To = netip.IPv4Unspecified() },
	} {
		row := good
		change(&row)
		if elements, err := render(row); model.KindOf(err) != model.Invalid {
			t.Errorf("%s: %v, %v", what, elements, err)
		}
	}
}
