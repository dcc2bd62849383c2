// Package containerspec says what a request for a container means: its defaults, what
// is refused in Docker's words, what its image adds, and what is asked of the network
// and of the runtime.
//
// It is pure: it takes requests and configurations as the API has them, and what it must
// know of the machine as Machine. It must not look at other containers, which the
// callers find for it.
//
//	Request ─▶ Complete ─▶ Validate ─▶ FromImage, Merge ─▶ mounts, ports, endpoints, limits
package containerspec

import (
	"net/netip"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/model"
)

// Machine is what a request is checked against.
type Machine struct {
	CPUs int // that the daemon may use
	// OnlineCPUs and OnlineNodes are lists as in cpuset(7); empty if the machine does
	// not say.
	OnlineCPUs, OnlineNodes string
	MemoryV1                bool // memory is controlled by cgroups of version 1
	// BlockWeights, BlockDeviceWeights and BlockLimits say what can be set of block devices;
	// Cgroupns, that there are cgroup namespaces.
	BlockWeights, BlockDeviceWeights, BlockLimits, Cgroupns bool
}

// Request asks for a container. Name may be empty; the rest may be nil,
// except Config.
type Request struct {
	Name       string
	Config     *container.Config
	Host       *container.HostConfig
	Networking *network.NetworkingConfig
	// Task is set for a container that a swarm asks for.
	Task *Task
}

// Task is what a swarm asks of a container besides.
type Task struct {
	// Services is what the container stands for, and Given its addresses, by the networks
	// of Networking.
	Services map[string]*model.ServiceEndpoint
	Given    map[string][]netip.Addr
	// Files are mounted too, and told to nobody.
	Files []MountPoint
}
