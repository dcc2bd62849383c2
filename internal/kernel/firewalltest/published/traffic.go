package published

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest"
	"github.com/linkspan/linkspan/internal/kernel/firewalltest/namespaces"
	"github.com/linkspan/linkspan/internal/model"
)

// Traffic counts what goes through published ports of every form.
func Traffic(t *testing.T, backend firewalltest.Backend) {
	for _, bridgeNetfilter := range []bool{false, true} {
		t.Run(fmt.Sprintf("br_netfilter=%t", bridgeNetfilter), func(t *testing.T) {
			rows := append(Ports(), desired.Direct{Bridge: "br-a", Addr: netip.MustParseAddr("10.1.0.11"), Protocol: model.UDP, First: 5000, Last: 5000}) // not a published port
			s := NewHost(t, backend, bridgeNetfilter, rows...)
			ask := func(from *namespaces.Namespace, addresses ...string) {
				for _, a := range addresses {
					if from.Ask(a, enough) == "" {
						t.Fatalf("%s: no answer", a)
					}
				}
			}
			ask(s.Out, "192.0.2.1:8080", "192.0.2.1:8080", "[2001:db8::1]:8080", "192.0.2.1:8083", "192.0.2.1:80", "192.0.2.1:9005")
			ask(s.Host, "127.0.0.1:8080", "127.0.0.1:8082")
			ask(s.Web, "192.0.2.1:8080")
			got, err := s.Firewall.Traffic(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]uint64{
				"0.0.0.0:8080": 4, "[::]:8080": 1, "127.0.0.1:8082": 1, "192.0.2.1:8083": 1, "[2001:db8::1]:8083": 0,
				"0.0.0.0:78": 1, "[::]:78": 0, "192.0.2.1:9000": 1,
			}
			if len(got) != len(want) {
				t.Errorf("%d ports, want %d: %+v", len(got), len(want), got)
			}
			for _, p := range got {
				checkTraffic(t, p, want[netip.AddrPortFrom(p.Host, p.First).String()])
			}
		})
	}
}

// checkTraffic knows that each connection takes 3 packets to open, 4 to close and
// at least one in between, some of which may share a packet.
func checkTraffic(t *testing.T, p facts.PortTraffic, connections uint64) {
	t.Helper()
	if p.Connections != connections || p.Packets < 6*connections || p.Packets > 16*connections || p.Bytes < 40*p.Packets {
		t.Errorf("%+v, want %d connections", p, connections)
	}
}

// TrafficStartsAnew: a port that is published again counts from zero, others
// go on.
func TrafficStartsAnew(t *testing.T, backend firewalltest.Backend) {
	rows := Ports()
	s := NewHost(t, backend, false, rows...)
	s.Out.Ask("192.0.2.1:8080", enough)
	s.Out.Ask("192.0.2.1:8083", enough)
	again := desired.Delta{Owner: "test", New: rows[0]}
	for _, d := range []desired.Delta{again.Invert(), again} {
		if err := s.Firewall.Apply(t.Context(), []desired.Delta{d}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Firewall.Traffic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count := func(host string, port uint16) uint64 {
		i := slices.IndexFunc(got, func(p facts.PortTraffic) bool { return p.Host.String() == host && p.First == port })
		return got[i].Connections
	}
	if a, b := count("0.0.0.0", 8080), count("192.0.2.1", 8083); a != 0 || b != 1 {
		t.Errorf("%d connections on the new port, %d on the old: want 0 and 1", a, b)
	}
}
