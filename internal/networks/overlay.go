package networks

import (
	"context"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/ops/overlays"
)

// EnsureOverlay makes a network of the swarm on this host, or brings it up to date. Its
// subnets and VNIs are given. Errors: Conflict if a network of this host alone has its
// name; Invalid for what the swarm says of it.
func (m *Manager) EnsureOverlay(ctx context.Context, n model.Network) error {
	_, err := m.engine.Do(ctx, overlays.Put(n))
	return err
}

// DropOverlay removes a network of the swarm from this host. One that is gone is success.
// Forbidden: a container is on it.
func (m *Manager) DropOverlay(ctx context.Context, id model.NetworkID) error {
	_, err := m.engine.Do(ctx, overlays.Drop(id))
	return err
}

// EnsureGateway makes the network by which containers on those of the swarm leave.
func (m *Manager) EnsureGateway(ctx context.Context) error {
	_, err := m.engine.Do(ctx, ops.EnsureGateway)
	return err
}
