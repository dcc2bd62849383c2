package containers

import (
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// TestUpdateConflicts: the texts are Docker's, not the runtime's.
func TestUpdateConflicts(t *testing.T) {
	b := newBench(t)
	id := b.create("one", func(r *CreateRequest) { r.Host.Memory = 64 << 20 })
	if got := b.inspect(id).HostConfig.MemorySwap; got != 128<<20 {
		t.Errorf("swap limit %d, want twice the memory limit", got)
	}
	_, err := b.Update(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: 200 << 20}})
	refused(t, err, model.Conflict, "Cannot update container "+id+": Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	_, err = b.Update(ctx, id, container.UpdateConfig{Resources: container.Resources{Memory: 200 << 20, MemorySwap: 300 << 20}})
	must(t, err)
	id = b.create("two", func(r *CreateRequest) { r.Host.CPUPeriod = 5000 })
	_, err = b.Update(ctx, id, container.UpdateConfig{Resources: container.Resources{NanoCPUs: 1e9}})
	refused(t, err, model.Conflict, "Nano CPUs cannot be updated as CPU Period has already been set")
}
