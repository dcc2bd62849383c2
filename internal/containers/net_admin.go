package containers

import (
	"context"
	"log/slog"
	"path/filepath"

	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
	"github.com/linkspan/linkspan/internal/state"
)

// Who may configure the interfaces of a network namespace may speak there for more
// than the engine gave it. What follows from the capability is the sandbox's, so
// that it holds for whoever shares it: a helper with NET_ADMIN in the network of a
// plain container is enough, as long as it runs. A privileged exec is not: it comes
// and goes, and ports are not to change with it.

// netAdmin has sandboxes say who may configure their interfaces.
type netAdmin struct {
	*registry
	dirs containerfiles.Dirs
	log  *slog.Logger
}

// lend says of the sandbox that a container is about to share what the container
// brings along.
func (n *netAdmin) lend(ctx context.Context, r record, owner model.ContainerID) error {
	if !r.mode().IsContainer() || !containerspec.NetAdmin(r.Host) {
		return nil
	}
	sb, ok := n.engine.Snapshot().SandboxOf(owner)
	if !ok {
		return nil // the host's network
	}
	_, err := n.engine.Do(ctx, ops.SetNetAdmin(sb.ID, true))
	return err
}

// takeBack is the opposite, after a container has ended.
func (n *netAdmin) takeBack(ctx context.Context, r record, op string) {
	if r.mode().IsContainer() && containerspec.NetAdmin(r.Host) {
		n.reviewNetAdmin(ctx, op)
	}
}

// reviewNetAdmin makes every sandbox say what is so: also those that were recorded
// before anybody asked.
func (n *netAdmin) reviewNetAdmin(ctx context.Context, op string) {
	lent := map[model.ContainerID]bool{}
	for _, b := range n.all() {
		if r := b.snapshot(); r.State.Running && r.mode().IsContainer() && containerspec.NetAdmin(r.Host) {
			lent[n.sharedOwner(r.ID)] = true
		}
	}
	now := n.engine.Snapshot()
	for _, b := range n.all() {
		r := b.snapshot()
		want := containerspec.NetAdmin(r.Host) || lent[r.ID]
		if r.Sandbox == "" || sameNetAdmin(now, r.Sandbox, want) {
			continue
		}
		_, err := n.engine.Do(ctx, ops.SetNetAdmin(r.Sandbox, want))
		if err != nil && model.KindOf(err) != model.NotFound {
			n.log.Error("how far a container is believed has not changed", "container", model.Short(r.ID), "op", op, "err", err)
		}
	}
}

func sameNetAdmin(s *state.Snapshot, id model.SandboxID, want bool) bool {
	sb, ok := s.Sandbox(id)
	return !ok || sb.NetAdmin == want
}

// sharedOwner returns whose network a container shares: not by the name that its
// mode gives, which may be another's by now, but as its last start found it.
func (n *netAdmin) sharedOwner(id model.ContainerID) model.ContainerID {
	target, err := containerfiles.LinkedTo(n.dirs.Netns(id))
	if err != nil {
		n.log.Warn("whose network a container shares is not known", "container", model.Short(id), "op", "sandbox.share", "err", err)
	}
	if target == "" {
		return ""
	}
	b, err := n.find(filepath.Base(target))
	if err != nil {
		return ""
	}
	return b.id
}
