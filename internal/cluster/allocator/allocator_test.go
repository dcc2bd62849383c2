package allocator

import (
	"testing"

	suite "github.com/moby/swarmkit/v2/manager/allocator"
)

// TestSwarmkitsSuite is what swarmkit expects of every provider.
func TestSwarmkitsSuite(t *testing.T) { suite.RunAllocatorTests(t, Provider{}) }
