// Package observe says what of the host's kernel facts follow from, by its links, routes
// and settings (sysctl(8)): how large packets may be, which ports are given out.
//
// It changes nothing.
package observe

import (
	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/facts"
	"github.com/linkspan/linkspan/internal/kernel/link"
	"github.com/linkspan/linkspan/internal/kernel/route"
)

// Packets says how large packets can be: what the kernel is capable of, as its
// loopback interface tells, and what the interfaces that lead out take.
func Packets(links []link.Info, routes []route.Info) facts.Packets {
	var out facts.Packets
	at := map[int]link.Packets{}
	for _, l := range links {
		at[l.Index] = l.Packets
		if l.Name == "lo" {
			out.Large4, out.Large6 = l.Packets.Large4(), l.Packets.Large6()
		}
	}
	for _, r := range routes {
		if !leadsOut(r) {
			continue
		}
		// Of several interfaces of one route nothing is known here, so they take what
		// every interface does.
		uplink, known := at[r.Index]
		if !known {
			uplink = link.Packets{GSO4: link.UsualPackets, GSO6: link.UsualPackets}
		}
		out.Out4, out.Out6 = least(out.Out4, uplink.GSO4), least(out.Out6, uplink.GSO6)
	}
	return out
}

// leadsOut tells whether a route is a default one. Two halves of the world are one
// as well: so VPNs lay theirs over that of the host.
func leadsOut(r route.Info) bool { return r.Type == unix.RTN_UNICAST && r.Destination.Bits() <= 1 }

// least is the smaller size of two, where 0 is none.
func least(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
