// Package swarm runs a node of a swarm: swarmkit's engine, with its types kept
// here and in the packages beside.
package swarm

import (
	_ "github.com/moby/swarmkit/v2/agent"
	_ "github.com/moby/swarmkit/v2/agent/exec"
	_ "github.com/moby/swarmkit/v2/api"
	_ "github.com/moby/swarmkit/v2/api/defaults"
	_ "github.com/moby/swarmkit/v2/ca"
	"github.com/moby/swarmkit/v2/node"

	_ "github.com/moby/swarmkit/v2/identity"
	_ "github.com/moby/swarmkit/v2/manager/constraint"
	_ "github.com/moby/swarmkit/v2/template"
	_ "github.com/moby/swarmkit/v2/watch"
)

// Node is one node of a swarm.
type Node struct{ node *node.Node }
