package swarm

import (
	"context"

	"github.com/linkspan/linkspan/internal/model"
)

// Networks returns the networks of the swarm.
func (m *Manager) Networks(ctx context.Context) ([]model.Network, error) {
	list, err := m.Node().Networks(ctx)
	out := make([]model.Network, 0, len(list))
	for _, n := range list {
		out = append(out, n.Network)
	}
	return out, err
}

// CreateNetwork makes a network of the swarm.
func (m *Manager) CreateNetwork(ctx context.Context, n model.Network) (model.Network, error) {
	made, err := m.Node().CreateNetwork(ctx, n)
	return made.Network, err
}

// RemoveNetwork removes a network of the swarm that no task is on.
func (m *Manager) RemoveNetwork(ctx context.Context, id model.NetworkID) error {
	return m.Node().RemoveNetwork(ctx, id)
}
