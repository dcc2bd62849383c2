package swarm

import (
	"context"

	types "github.com/moby/moby/api/types/swarm"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
)

// What a node's manager is asked for.
type (
	// Rotation says what is to be drawn anew.
	Rotation = cluster.Rotation
	// NodeFilter says which nodes are listed.
	NodeFilter = cluster.NodeFilter
)

// Inspect returns the swarm and its tokens.
func (m *Manager) Inspect(ctx context.Context) (types.Swarm, error) { return m.Node().Inspect(ctx) }

// Update gives the swarm a new specification, made from the one of that version.
func (m *Manager) Update(ctx context.Context, version uint64, s types.Spec, r Rotation) error {
	return m.Node().Update(ctx, version, s, r)
}

// UnlockKey returns the key that unlocks managers; empty if they are not locked.
func (m *Manager) UnlockKey(ctx context.Context) (string, error) { return m.Node().UnlockKey(ctx) }

// Nodes returns the hosts of the swarm that a filter lets through.
func (m *Manager) Nodes(ctx context.Context, f NodeFilter) ([]types.Node, error) {
	return m.Node().Nodes(ctx, f)
}

// FindNode returns the host of an ID, a name, or the beginning of an ID.
func (m *Manager) FindNode(ctx context.Context, ref string) (types.Node, error) {
	return m.Node().FindNode(ctx, ref)
}

// UpdateNode gives a host a new specification, made from the one of that version.
func (m *Manager) UpdateNode(ctx context.Context, ref string, version uint64, s types.NodeSpec) error {
	return m.Node().UpdateNode(ctx, ref, version, s)
}

// RemoveNode removes a host that is down; with force also one that is not.
func (m *Manager) RemoveNode(ctx context.Context, ref string, force bool) error {
	return m.Node().RemoveNode(ctx, ref, force)
}
