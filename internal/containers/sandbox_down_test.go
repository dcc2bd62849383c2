package containers

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

// up tells whether a container's network is.
func (b *bench) up(id string) bool {
	sb, ok := b.engine.Snapshot().SandboxOf(model.ContainerID(id))
	return ok && sb.Up
}

// TestNetworkIsTakenDownLater: the engine refuses for a moment to take down the network
// of a container that has ended, as without descriptors; it is asked again.
func TestNetworkIsTakenDownLater(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	b.engine.mu.Lock()
	b.engine.fail = errBroken
	b.engine.mu.Unlock()
	b.end(id, 0)
	soon(t, "the network is down", func() bool { return !b.up(id) })
}

// TestNetworkOfTheNextRunStays: who has started it again meanwhile keeps its network.
func TestNetworkOfTheNextRunStays(t *testing.T) {
	b := newBench(t)
	id := b.run("one", nil)
	b.engine.mu.Lock()
	b.engine.fail = errBroken
	b.engine.mu.Unlock()
	b.end(id, 0)
	must(t, b.Start(ctx, id))
	one, err := b.find(id)
	must(t, err)
	if !b.down.downNow(one, false) || !b.up(id) {
		t.Error("the network of a run was taken down")
	}
}
