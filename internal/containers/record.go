package containers

import (
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

// plain returns the record as the package of its stored form has it.
func (r record) plain() containerrecord.Record { return containerrecord.Record(r) }

// decodeRecord reads what encode wrote.
func decodeRecord(id model.ContainerID, raw []byte) (record, error) {
	r, err := containerrecord.Decode(id, raw)
	return record(r), err
}
