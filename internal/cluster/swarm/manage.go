package swarm

import (
	"context"
	"math"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/encryption"
	"google.golang.org/grpc"

	"github.com/linkspan/linkspan/internal/cluster/convert"
	"github.com/linkspan/linkspan/internal/model"
)

// Manager is the way to this node's own manager, for one request.
type Manager struct {
	NodeID string
	api.ControlClient
	conn *grpc.ClientConn
}

// Logs returns the manager's service of logs.
func (m Manager) Logs() api.LogsClient { return api.NewLogsClient(m.conn) }

// Watch returns the manager's service of changes.
func (m Manager) Watch() api.WatchClient { return api.NewWatchClient(m.conn) }

// Manage calls ask with the way to this node's own manager, and a context that ends in
// time. Errors of swarmkit get Docker's kinds. Unavailable: this node is no manager, or
// its manager cannot answer.
func (n *Node) Manage(ctx context.Context, ask func(context.Context, Manager) error) error {
	m, err := n.manager()
	if err != nil {
		return err
	}
	return Ask(ctx, m, ask)
}

// manager returns the way to this node's own manager. Errors: Unavailable, in Docker's
// words.
func (n *Node) manager() (Manager, error) {
	if n == nil {
		return Manager{}, NoManager()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch r := n.run; {
	case r != nil && r.conn != nil:
		return ManagerBehind(r.node.NodeID(), r.conn), nil
	case r != nil && r.node.Manager() != nil:
		return Manager{}, model.Errorf(model.Unavailable, "%s", notReady)
	case r != nil:
		return Manager{}, OnlyManagers()
	case isLocked(n.err):
		return Manager{}, errLocked()
	}
	if err := failure(n.err); err != nil && model.KindOf(err) == model.Unavailable {
		return Manager{}, err
	}
	return Manager{}, NoManager()
}

// Whole lifts gRPC's bound on answers that list: a manager's own process answers.
var Whole = grpc.MaxCallRecvMsgSize(math.MaxInt32)

// cluster returns the one cluster there is.
func (m Manager) cluster(ctx context.Context) (*api.Cluster, error) {
	r, err := m.ListClusters(ctx, &api.ListClustersRequest{})
	if err != nil {
		return nil, err
	}
	if len(r.Clusters) == 0 {
		return nil, model.Errorf(model.Unavailable, "This node is not part of a swarm")
	}
	return r.Clusters[0], nil
}

// Inspect returns the swarm and its tokens.
func (n *Node) Inspect(ctx context.Context) (out swarm.Swarm, err error) {
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		c, err := m.cluster(ctx)
		if err == nil {
			out = convert.Cluster(c)
		}
		return err
	})
	return out, err
}

// Rotation says what is to be drawn anew.
type Rotation struct{ WorkerToken, ManagerToken, UnlockKey bool }

// Update gives the swarm a new specification, as a whole. version is that of the swarm
// which it was made from.
func (n *Node) Update(ctx context.Context, version uint64, s swarm.Spec, r Rotation) error {
	return n.Manage(ctx, func(ctx context.Context, m Manager) error {
		c, err := m.cluster(ctx)
		if err != nil {
			return err
		}
		switch s.Name {
		case "":
			s.Name = "default"
		case "default":
		default:
			return model.Errorf(model.Invalid, `swarm spec must be named "default"`)
		}
		spec, err := convert.ClusterSpec(s)
		if err != nil {
			return model.Errorf(model.Invalid, "%w", err)
		}
		_, err = m.UpdateCluster(ctx, &api.UpdateClusterRequest{
			ClusterID: c.ID, Spec: &spec, ClusterVersion: &api.Version{Index: version},
			Rotation: api.KeyRotation{WorkerJoinToken: r.WorkerToken, ManagerJoinToken: r.ManagerToken, ManagerUnlockKey: r.UnlockKey},
		})
		return err
	})
}

// Specify gives a swarm that was just made what its maker asked for; the rest stays as
// swarmkit has it.
func (n *Node) Specify(ctx context.Context, s swarm.Spec) error {
	return n.Manage(ctx, func(ctx context.Context, m Manager) error {
		c, err := m.firstCluster(ctx)
		if err != nil {
			return err
		}
		spec, err := convert.MergeClusterSpec(s, c.Spec)
		if err != nil {
			return model.Errorf(model.Unfit, "error updating cluster settings: %w", err)
		}
		_, err = m.UpdateCluster(ctx, &api.UpdateClusterRequest{ClusterID: c.ID, Spec: &spec, ClusterVersion: &c.Meta.Version})
		if err != nil {
			return model.Errorf(model.KindOf(failure(err)), "error updating cluster settings: %w", err)
		}
		return nil
	})
}

// firstCluster waits until a new swarm has its object in the store.
func (m Manager) firstCluster(ctx context.Context) (*api.Cluster, error) {
	for {
		r, err := m.ListClusters(ctx, &api.ListClustersRequest{})
		if err != nil {
			return nil, err
		}
		if len(r.Clusters) > 0 {
			return r.Clusters[0], nil
		}
		timer := time.NewTimer(allocatePause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// UnlockKey returns the key that unlocks managers of the swarm; empty if they are not
// locked.
func (n *Node) UnlockKey(ctx context.Context) (key string, err error) {
	err = n.Manage(ctx, func(ctx context.Context, m Manager) error {
		r, err := api.NewCAClient(m.conn).GetUnlockKey(ctx, &api.GetUnlockKeyRequest{})
		if err == nil && len(r.UnlockKey) > 0 {
			key = encryption.HumanReadableKey(r.UnlockKey)
		}
		return err
	})
	return key, err
}

// ParseUnlockKey reads a key as its user has it. Errors: Invalid.
func ParseUnlockKey(text string) ([]byte, error) {
	key, err := encryption.ParseHumanReadableKey(text)
	if err != nil {
		return nil, model.Errorf(model.Invalid, "%w", err)
	}
	return key, nil
}
