package iptables

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/xtables"
	"github.com/linkspan/linkspan/internal/model"
)

// BenchmarkPublish publishes a port and takes it away, beside none, a hundred and a
// thousand others.
func BenchmarkPublish(b *testing.B) {
	for _, v := range xtables.Variants() {
		for _, others := range []int{0, 100, 1000} {
			b.Run(fmt.Sprintf("%s/beside=%d", v, others), func(b *testing.B) {
				backend := newNamespace(b, v).open(Options{})
				rows := []desired.Row{desired.BridgePolicy{Bridge: "docker0", ICC: true}}
				for i := range others {
					rows = append(rows, portOf(uint16(20000+i)))
				}
				resync(b, backend, rows...)
				one := desired.Delta{Owner: "test", New: portOf(8080)}
				for b.Loop() {
					apply(b, backend, one)
					apply(b, backend, one.Invert())
				}
			})
		}
	}
}

func portOf(n uint16) desired.Row {
	return desired.Publish{
		Protocol: model.TCP, Host: netip.IPv4Unspecified(), First: n, Last: n, To: netip.AddrFrom4([4]byte{172, 17, 0, 2}), ToFirst: n, Bridge: "docker0",
	}
}
