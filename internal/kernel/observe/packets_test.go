package observe

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
)

func TestPacketFacts(t *testing.T) {
	size := func(index int, name string, size4, size6 int) link.Info {
		return link.Info{Index: index, Name: name, Packets: link.Packets{GSO4: size4, GSO6: size6, Limit: 524280}}
	}
	links := []link.Info{size(1, "lo", 65536, 65536), size(2, "eth0", 196608, 196608), size(3, "eth1", 131072, 180000), size(4, "eth2", 65536, 65536)}
	to := func(prefix string, index int) route.Info {
		return route.Info{Destination: netip.MustParsePrefix(prefix), Index: index, Type: unix.RTN_UNICAST}
	}
	several := route.Info{Destination: netip.MustParsePrefix("0.0.0.0/0"), Multipath: true, Type: unix.RTN_UNICAST}
	refused := route.Info{Destination: netip.MustParsePrefix("0.0.0.0/0"), Index: 4, Type: unix.RTN_UNREACHABLE}
	for _, c := range []struct {
		name   string
		links  []link.Info
		routes []route.Info
		want   facts.Packets
	}{
		{"no way out", links, []route.Info{to("10.0.0.0/8", 4)}, facts.Packets{Large4: true, Large6: true}},
		{"one", links, []route.Info{to("0.0.0.0/0", 2)}, facts.Packets{Large4: true, Large6: true, Out4: 196608, Out6: 196608}},
		{"the least of both families' counts for both", links, []route.Info{to("0.0.0.0/0", 2), to("::/0", 3)},
			facts.Packets{Large4: true, Large6: true, Out4: 131072, Out6: 180000}},
		{"halves of the world", links, []route.Info{to("0.0.0.0/0", 2), to("128.0.0.0/1", 4)},
			facts.Packets{Large4: true, Large6: true, Out4: 65536, Out6: 65536}},
		{"several interfaces of one route", links, []route.Info{several}, facts.Packets{Large4: true, Large6: true, Out4: 65536, Out6: 65536}},
		{"a route to nowhere", links, []route.Info{refused}, facts.Packets{Large4: true, Large6: true}},
		{"a kernel without it for IPv4", []link.Info{size(1, "lo", 0, 65536), size(2, "eth0", 0, 196608)}, []route.Info{to("0.0.0.0/0", 2)},
			facts.Packets{Large6: true, Out6: 196608}},
	} {
		if got := Packets(c.links, c.routes); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
