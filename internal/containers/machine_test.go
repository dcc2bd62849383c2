package containers

import (
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/model"
)

// TestLimitsOfThisMachine: what it does not have is refused, at create and at update.
func TestLimitsOfThisMachine(t *testing.T) {
	b := newBench(t)
	const text = "Requested CPUs are not available - requested 1-8191, available: "
	_, _, err := b.Create(ctx, request("", func(r *CreateRequest) { r.Host.CpusetCpus = "1-8191" }))
	refused(t, err, model.Invalid, text)
	_, err = b.Update(ctx, b.create("one", nil), container.UpdateConfig{Resources: container.Resources{CpusetCpus: "1-8191"}})
	refused(t, err, model.Invalid, text)
}
