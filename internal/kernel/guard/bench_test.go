package guard

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
)

// BenchmarkFollow gives what one attach and its detach cost the guard, which holds for
// others already; and what a container that may be reached at its own address does.
func BenchmarkFollow(b *testing.B) {
	l := newLab(b)
	l.Rest()
	port := func(i int) desired.PortSecurity {
		return desired.PortSecurity{Port: fmt.Sprintf("veth%d", i), Bridge: "br0", MAC: "02:42:00:00:00:02", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})}}
	}
	all := rows()
	for i := range 1000 {
		all = append(all, port(i))
	}
	l.daemon(b, all...)
	next := port(1001)
	for name, row := range map[string]desired.Row{
		"port":   next,
		"direct": desired.Direct{Bridge: "br0", Addr: next.Addrs[0]},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				l.Apply([]desired.Delta{{New: row}})
				l.Apply([]desired.Delta{{Old: row}})
			}
		})
	}
}
