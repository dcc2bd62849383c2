package containers

import (
	"cmp"
	"context"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"github.com/linkspan/linkspan/internal/containers/netfiles"
	"github.com/linkspan/linkspan/internal/containers/records"
	"github.com/linkspan/linkspan/internal/containers/seats"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/ops"
)

// memberships lets containers join and leave networks, and ends their links.
type memberships struct {
	*registry
	*announcer
	engine  Engine
	files   *netfiles.Files
	records records.Records
	seats   *seats.Seats
}

// Connect makes a container a member of one more network: at once if it runs,
// from its next start on otherwise. settings may be nil.
func (ms *memberships) Connect(ctx context.Context, ref, networkRef string, settings *network.EndpointSettings) error {
	b, err := ms.acquire(ctx, ref)
	if err != nil {
		return err
	}
	defer b.opLock.release()
	rec := b.snapshot()
	if rec.Sandbox == "" {
		return refuse(ops.SharedNetworking)
	}
	ctx = context.WithoutCancel(ctx)
	op, used, err := ms.seats.Connect(ctx, rec.ID, rec.Sandbox, newEndpoint(networkRef, settings))
	if err != nil {
		return err
	}
	s, err := ms.engine.Do(ctx, op)
	used()
	if err != nil {
		return err
	}
	n, err := s.FindNetwork(networkRef)
	if err != nil || b.current() == nil {
		return nil //nolint:nilerr // the network went away again, which is its own request
	}
	ms.files.Refresh(ctx, b, s, "network.connect")
	ms.sayNetwork(events.ActionConnect, n, b.id)
	return nil
}

// Disconnect ends a membership; with force also one of a network that is not
// there.
func (ms *memberships) Disconnect(ctx context.Context, ref, networkRef string, force bool) error {
	b, err := ms.acquire(ctx, ref)
	if force && model.KindOf(err) == model.NotFound {
		return ms.noMember(ref, networkRef)
	}
	if err != nil {
		return err
	}
	defer b.opLock.release()
	rec := b.snapshot()
	before := ms.engine.Snapshot()
	n, absent := before.FindNetwork(networkRef) // may be awaited by the container all the same
	if rec.Sandbox == "" {
		if absent != nil && !force {
			return absent
		}
		return model.Errorf(model.Unfit, "container %s is not connected to network %s", b.id, cmp.Or(n.Name, networkRef))
	}
	ctx = context.WithoutCancel(ctx)
	after, err := ms.engine.Do(ctx, ops.Disconnect(rec.Sandbox, networkRef, force))
	ms.seats.Settle()
	if err != nil || absent != nil || b.current() == nil {
		return err
	}
	ms.files.Refresh(ctx, b, after, "network.disconnect")
	ms.sayNetwork(events.ActionDisconnect, n, b.id)
	return nil
}

// Readdressed has the files of a container follow what a server gives it now.
func (ms *memberships) Readdressed(ctx context.Context, id model.ContainerID) {
	if b, err := ms.acquire(ctx, string(id)); err == nil {
		defer b.opLock.release()
		ms.files.Refresh(ctx, b, ms.engine.Snapshot(), "leases.follow")
	}
}

// SetServing says whether a container that runs a service's task is ready for requests.
func (ms *memberships) SetServing(ctx context.Context, ref string, yes bool) error {
	b, err := ms.find(ref)
	if err != nil || b.snapshot().Sandbox == "" {
		return err
	}
	_, err = ms.engine.Do(ctx, ops.SetServing(b.snapshot().Sandbox, yes))
	return err
}

// noMember is the answer to disconnecting a container that is not there by force:
// Docker looks for what such a one may have left on the network, and here nothing
// is ever left.
func (ms *memberships) noMember(ref, networkRef string) error {
	if _, err := ms.engine.Snapshot().FindNetwork(networkRef); err != nil {
		return err
	}
	return model.Errorf(model.NotFound, "endpoint %s not found", ref)
}
