package swarm

import (
	"context"
	"errors"
	"fmt"

	types "github.com/moby/moby/api/types/swarm"

	cluster "github.com/linkspan/linkspan/internal/cluster/swarm"
	"github.com/linkspan/linkspan/internal/model"
)

// Leave ends this host's part in its swarm and forgets it. Containers that the swarm had
// asked for are removed; others go on, without its networks. A manager leaves only by
// force.
func (m *Manager) Leave(ctx context.Context, force bool) error {
	ctx = context.WithoutCancel(ctx)
	m.verbs.Lock()
	defer m.verbs.Unlock()
	n := m.Node()
	if n == nil {
		return errNoSwarm()
	}
	s := n.State()
	if !force {
		if err := m.mayLeave(ctx, n, s); err != nil {
			return err
		}
	}
	m.vacate(ctx) // while the manager still hears which places are free
	if err := n.Stop(); err != nil {
		return err
	}
	m.setNode(nil)
	if s.ID != "" && m.o.RemoveTasks != nil {
		if err := m.o.RemoveTasks(ctx, s.ID); err != nil {
			return err
		}
	}
	m.forgetPlaces()
	return errors.Join(cluster.Clear(m.folder), m.dropAll(ctx))
}

// mayLeave refuses what would harm the swarm.
func (m *Manager) mayLeave(ctx context.Context, n *cluster.Node, s cluster.State) error {
	if s.Status == types.LocalNodeStateLocked {
		return model.Errorf(model.Unavailable, "Swarm is encrypted and locked. Please unlock it first or use `--force` to ignore this message.")
	}
	if !s.Manager {
		return nil
	}
	text := "You are attempting to leave the swarm on a node that is participating as a manager. "
	if !s.Control {
		text += "Doing so may lose the consensus of your cluster. "
	} else if self, reachable, unreachable, err := n.Managers(ctx); err == nil && self && reachable-2 <= unreachable {
		if reachable == 1 && unreachable == 0 {
			return model.Errorf(model.Unavailable, "%s", text+"Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ")
		}
		text += fmt.Sprintf("Removing this node leaves %v managers out of %v. Without a Raft quorum your swarm will be inaccessible. ", reachable-1, reachable+unreachable)
	}
	text += "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message."
	return model.Errorf(model.Unavailable, "%s", text)
}

// vacate has all containers of this host leave the swarm's networks.
func (m *Manager) vacate(ctx context.Context) {
	s := m.o.Engine.Snapshot()
	for n := range s.Networks() {
		if n.Scope != model.ScopeSwarm {
			continue
		}
		for e := range s.EndpointsOn(n.ID) {
			sb, ok := s.Sandbox(e.Sandbox)
			if !ok || !e.Up || sb.Container == "" {
				continue
			}
			if err := m.members.Disconnect(ctx, string(sb.Container), string(n.ID), true); err != nil && model.KindOf(err) != model.NotFound {
				m.log.Warn("a container stays on a network of the swarm", "op", "swarm.leave", "container", model.Short(sb.Container), "network", n.Name, "err", err)
			}
		}
	}
}

// dropAll drops the swarm's networks here.
func (m *Manager) dropAll(ctx context.Context) error {
	m.overlays.Lock()
	defer m.overlays.Unlock()
	var failed []error
	for n := range m.o.Engine.Snapshot().Networks() {
		if n.Scope == model.ScopeSwarm {
			failed = append(failed, m.o.Overlays.DropOverlay(ctx, n.ID))
		}
	}
	return errors.Join(failed...)
}

// Unlock gives a locked manager its key and starts it.
func (m *Manager) Unlock(ctx context.Context, text string) error {
	ctx = context.WithoutCancel(ctx)
	m.verbs.Lock()
	defer m.verbs.Unlock()
	n := m.Node()
	s := n.State()
	if s.Status != types.LocalNodeStateLocked {
		return n.Manage(ctx, func(context.Context, cluster.Manager) error { // else it says why there is no manager
			return model.Errorf(model.Conflict, "swarm is not locked")
		})
	}
	key, err := cluster.ParseUnlockKey(text)
	if err != nil {
		return err
	}
	c := n.Config()
	c.UnlockKey = key
	if err := n.Stop(); err != nil {
		return err
	}
	if n, err = m.start(ctx, c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.RequestTimeout) // without a quorum it never comes to take part
	defer cancel()
	if err := n.Ready(ctx); err != nil {
		if n.State().Status == types.LocalNodeStateLocked {
			return model.Errorf(model.Unauthorized, "swarm could not be unlocked: invalid key provided")
		}
		return model.Errorf(model.Unfit, "swarm component could not be started: %w", err)
	}
	return nil
}
