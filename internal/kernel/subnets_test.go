package kernel_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/linkspan/linkspan/internal/desired"
	"github.com/linkspan/linkspan/internal/kernel/kerneltest"
)

// TestSubnetsTakeTurns goes at random through subnets that overlap, one at a time in
// each family, as --bip and --fixed-cidr do from start to start: whichever comes after
// whichever, the kernel has it, and no other.
func TestSubnetsTakeTurns(t *testing.T) {
	l := newPortLab(t)
	random := rand.New(rand.NewPCG(3, 5))
	at := desired.State{}
	for step := range 120 {
		var rows []desired.Row
		for _, base := range []netip.Addr{netip.AddrFrom4([4]byte{172, 16 + byte(random.IntN(2)), byte(random.IntN(3)), 0}),
			netip.AddrFrom16([16]byte{0xfd, 1, 15: 0, 7: byte(random.IntN(3))})} {
			if random.IntN(8) == 0 {
				continue
			}
			bits := base.BitLen()/4 + random.IntN(base.BitLen()/2)
			subnet := netip.PrefixFrom(base, bits).Masked()
			rows = append(rows, desired.Masquerade{Bridge: kerneltest.Bridge, Subnet: subnet})
		}
		next := kerneltest.With(t, desired.State{}, kerneltest.NetworkOwner, rows...)
		if err := l.Apply(t.Context(), kerneltest.Diff(at, next)); err != nil {
			t.Fatalf("step %d: from\n%sto\n%s%v", step, at, next, err)
		}
		if r, err := l.Resync(t.Context(), next); err != nil || r.Writes != 0 || len(r.Drift) != 0 {
			t.Fatalf("step %d: from\n%sto\n%s%+v, %v", step, at, next, r, err)
		}
		at = next
	}
}
