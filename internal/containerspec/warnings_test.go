package containerspec

import (
	"testing"

	"github.com/moby/moby/api/types/container"
)

func TestMemoryWarnings(t *testing.T) {
	yes := true
	all := container.Resources{MemorySwappiness: number(10), OomKillDisable: &yes}
	if got := memoryWarnings(all, false); len(got) != 2 {
		t.Errorf("version 2: %q", got)
	}
	equal(t, "version 1", memoryWarnings(all, true), []string{"OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources."})
	all.Memory = 64 << 20
	equal(t, "with a limit", memoryWarnings(all, true), nil)
	equal(t, "nothing asked", memoryWarnings(container.Resources{MemorySwappiness: number(-1)}, false), nil)
}
