package swarm

import (
	"context"

	"google.golang.org/grpc"

	"github.com/moby/swarmkit/v2/api"
)

// ManagerBehind returns the way to the manager that answers on a connection.
func ManagerBehind(nodeID string, conn *grpc.ClientConn) Manager {
	return Manager{NodeID: nodeID, ControlClient: api.NewControlClient(conn), conn: conn}
}

// Ask calls ask with a manager and a context that ends in time. Errors of swarmkit get
// Docker's kinds.
func Ask(ctx context.Context, m Manager, ask func(context.Context, Manager) error) error {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	return failure(ask(ctx, m))
}
