package workload

import (
	"context"
	"fmt"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/containerview"
	"github.com/linkspan/linkspan/internal/model"
)

// record is what is known of a container and must survive the daemon. Its parts
// are those of the stored form.
type record containerrecord.Record

type (
	link       = containerrecord.Link
	progress   = containerrecord.Progress
	mountPoint = containerspec.MountPoint
)

// status returns Docker's word for the state.
func (r record) status() container.ContainerState {
	return containerview.Status(containerrecord.Record(r))
}

// mode returns the network mode.
func (r record) mode() container.NetworkMode { return r.Host.NetworkMode }

// encode returns the record as it is stored.
func (r record) encode() ([]byte, error) { return containerrecord.Encode(containerrecord.Record(r)) }

// decodeRecord reads what encode wrote.
func decodeRecord(id model.ContainerID, raw []byte) (record, error) {
	r, err := containerrecord.Decode(id, raw)
	return record(r), err
}

// save stores b's record. The caller has b's turn.
func (m *Manager) save(ctx context.Context, b *box) error {
	raw, err := b.snapshot().encode()
	if err != nil {
		return err
	}
	if err := m.o.Store.PutContainer(ctx, b.id, raw); err != nil {
		return fmt.Errorf("store record of container %s: %w", model.Short(b.id), err)
	}
	return nil
}

// saveLogged is save where nobody can be told of a failure.
func (m *Manager) saveLogged(ctx context.Context, b *box, op string) {
	if err := m.save(ctx, b); err != nil {
		m.log.Error("record not stored", "container", model.Short(b.id), "op", op, "err", err)
	}
}
