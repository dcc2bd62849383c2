package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
)

// recordVersion counts changes of record's meaning. A newer one is refused.
const recordVersion = 2

// record is what is known of a container and must survive the daemon. Config and
// Host are never changed in place: a new value is put in their stead, so that a
// copy of a record may be read without a lock.
type record struct {
	Version int
	ID      model.ContainerID
	Name    string // without a slash
	Created time.Time
	Image   model.ImageID
	Sandbox model.SandboxID `json:",omitempty"` // empty in container: mode
	Config  *container.Config
	Host    *container.HostConfig
	Links   []link `json:",omitempty"` // of the default bridge
	// Bound and Exposed are many ports of Host and Config as ranges, in the stored
	// form only.
	Bound, Exposed []portRun    `json:",omitempty"`
	Mounts         []mountPoint `json:",omitempty"`
	State          progress
	RestartCount   int  `json:",omitempty"`
	Stopped        bool `json:",omitempty"` // by the user: "unless-stopped" leaves it alone
	// Health is nil without a health check; a new value is put in its stead too.
	Health *container.Health `json:",omitempty"`
	// ResolvHash is the SHA-256 of the resolv.conf that was written last; another
	// content is the user's.
	ResolvHash string `json:",omitempty"`
	// OwnEntries are the lines of its own addresses that were written to hosts last.
	OwnEntries []names.HostEntry `json:",omitempty"`
}

// progress is how far a container's process has come.
type progress struct {
	Running    bool `json:",omitempty"`
	Paused     bool `json:",omitempty"`
	Restarting bool `json:",omitempty"` // ended, and to be started again
	OOMKilled  bool `json:",omitempty"`
	Pid        int  `json:",omitempty"`
	ExitCode   int
	Error      string `json:",omitempty"` // why the last start failed
	// Retries are starts that followed, by the restart policy, on one that failed.
	Retries    int `json:",omitempty"`
	StartedAt  time.Time
	FinishedAt time.Time
}

// mountPoint is a mount as it is stored.
type mountPoint = containerspec.MountPoint

// status returns Docker's word for the state.
func (r record) status() container.ContainerState {
	switch s := r.State; {
	case s.Paused:
		return container.StatePaused
	case s.Restarting:
		return container.StateRestarting
	case s.Running:
		return container.StateRunning
	case s.StartedAt.IsZero():
		return container.StateCreated
	}
	return container.StateExited
}

// mode returns the network mode.
func (r record) mode() container.NetworkMode { return r.Host.NetworkMode }

// encode returns the record as it is stored.
func (r record) encode() ([]byte, error) {
	r.Version = recordVersion
	raw, err := json.Marshal(r.pack())
	if err != nil {
		return nil, fmt.Errorf("encode record of container %s: %w", model.Short(r.ID), err)
	}
	return raw, nil
}

// decodeRecord reads what encode wrote.
func decodeRecord(id model.ContainerID, raw []byte) (record, error) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("record of container %s: %w", model.Short(id), err)
	}
	switch {
	case r.Version > recordVersion:
		return r, fmt.Errorf("record of container %s has version %d: this daemon reads up to %d", model.Short(id), r.Version, recordVersion)
	case r.ID != id || r.Name == "" || r.Config == nil || r.Host == nil:
		return r, fmt.Errorf("record of container %s is incomplete", model.Short(id))
	}
	return r.unpack(), nil
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
