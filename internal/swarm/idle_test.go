package swarm

import (
	"runtime"
	"strings"
	"testing"
)

// TestNothingRunsWithoutASwarm: what a swarm is made of starts nothing by being there.
func TestNothingRunsWithoutASwarm(t *testing.T) {
	_, m := newHouse(t)
	defer m.Close(t.Context()) //nolint:errcheck // of no swarm
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for _, name := range []string{"swarmkit", "etcd", "klog", "grpc", "go-metrics", "zap", "cfssl", "internal/cluster"} {
		for one := range strings.SplitSeq(string(stacks), "\n\n") {
			if strings.Contains(one, name) && !strings.Contains(one, "TestNothingRunsWithoutASwarm") {
				t.Errorf("a goroutine of %s runs:\n%s", name, one)
			}
		}
	}
}
