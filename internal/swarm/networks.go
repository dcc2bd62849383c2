package swarm

import (
	"context"

	"github.com/linkspan/linkspan/internal/model"
)

// Networks returns the networks of the swarm.
func (m *Manager) Networks(ctx context.Context) ([]model.Network, error) {
	return m.Node().Networks(ctx)
}

// CreateNetwork makes a network of the swarm.
func (m *Manager) CreateNetwork(ctx context.Context, n model.Network) (model.Network, error) {
	return m.Node().CreateNetwork(ctx, n)
}

// RemoveNetwork removes a network of the swarm that no task is on.
func (m *Manager) RemoveNetwork(ctx context.Context, id model.NetworkID) error {
	return m.Node().RemoveNetwork(ctx, id)
}
