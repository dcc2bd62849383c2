package engine

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/ops"
)

// BenchmarkAttach measures what the engine itself costs, on a kernel and a store in
// memory: a container starts on a network beside others that run.
func BenchmarkAttach(b *testing.B) {
	for _, others := range []int{1, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			r := newRig(b)
			for i := range others {
				r.must(b, ops.StartSandbox(r.box(b, fmt.Sprint(i), nil, "bridge")))
			}
			id := r.box(b, "one", nil, "bridge")
			for b.Loop() {
				r.must(b, ops.StartSandbox(id))
				b.StopTimer()
				r.must(b, ops.StopSandbox(id))
				b.StartTimer()
			}
		})
	}
}
