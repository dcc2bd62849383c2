package swarm

import (
	"cmp"
	"context"

	types "github.com/moby/moby/api/types/swarm"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
)

// Status returns how this host stands in a word or two: "inactive", "active/manager".
func (m *Manager) Status() string {
	s := m.Node().State()
	switch {
	case s.Status != types.LocalNodeStateActive:
		return string(s.Status)
	case s.Control, s.Manager:
		return string(s.Status) + "/manager"
	}
	return string(s.Status) + "/worker"
}

// twoManagers is what Docker says of a swarm that has two.
const twoManagers = `WARNING: Running Swarm in a two-manager configuration. This configuration provides
         no fault tolerance, and poses a high risk to lose control over the cluster.
         Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the
         Swarm for fault-tolerance.`

// Info returns what this host says of itself as a node.
func (m *Manager) Info(ctx context.Context) types.Info {
	n := m.Node()
	s := n.State()
	out := types.Info{
		LocalNodeState: s.Status, NodeID: s.ID, NodeAddr: cmp.Or(s.Advertise, s.LocalAddr), ControlAvailable: s.Control, RemoteManagers: s.Remotes,
	}
	if out.RemoteManagers == nil {
		out.RemoteManagers = []types.Peer{}
	}
	if s.Err != nil {
		out.Error = s.Err.Error()
	}
	if !s.Control {
		return out
	}
	swarm, err := n.Inspect(ctx)
	if err != nil {
		out.Error = err.Error()
	}
	out.Cluster = &swarm.ClusterInfo
	nodes, err := n.Nodes(ctx, cluster.NodeFilter{})
	if err != nil {
		out.Error = err.Error()
	}
	out.Nodes = len(nodes)
	for _, one := range nodes {
		if one.ManagerStatus != nil {
			out.Managers++
		}
	}
	if out.Managers == 2 {
		out.Warnings = append(out.Warnings, twoManagers)
	}
	return out
}

// Role tells whether this host is of a swarm, and whether it manages it.
func (m *Manager) Role() (member, manager bool) {
	s := m.Node().State()
	return s.Status == types.LocalNodeStateActive, s.Control
}

// Active tells whether this host is of a swarm, or is about to be.
func (m *Manager) Active() bool { return m.Node() != nil }
