// Package allocator gives networks of the swarm their subnets and VNIs, and
// what is on them its addresses: swarmkit's provider of networks.
package allocator

import "github.com/moby/swarmkit/v2/manager/allocator/networkallocator"

// Provider is what swarmkit's managers ask for networks and addresses.
type Provider struct{ networkallocator.InertProvider }
