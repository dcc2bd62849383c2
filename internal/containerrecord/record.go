// Package containerrecord is the stored form (the schema) of what is known of a
// container and must survive the daemon.
//
// In memory a record has Docker's types, as the API gave them. On disk it has
// structs of this package, with a name for each field: another version of Docker's
// types changes no store unseen. The names are Docker's, where Docker has one, so
// that the same structs read the versions that stored Docker's types as they were.
//
// It is pure. It promises that Decode(Encode(r)) is r, nil and empty lists told
// apart, as far as strings are valid UTF-8 and times are in UTC. It must not be
// lenient: a record that it does not understand whole is refused.
package containerrecord

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/names"
)

// Version counts changes of the stored form. Who raises it adds a golden of the
// version before to testdata.
//
//	1  Docker's types as they were
//	2  16 ports or more are ranges, in Bound and Exposed
//	3  structs of our own; zero values are left out; all ports are ranges
const Version = 3

// Record is what is known of a container. Config and Host are never changed in
// place: a new value is put in their stead, so that a copy of a record may be read
// without a lock.
type Record struct {
	ID      model.ContainerID
	Name    string // without a slash
	Created time.Time
	Image   model.ImageID
	Sandbox model.SandboxID // empty in container: mode
	Config  *container.Config
	Host    *container.HostConfig
	Links   []Link // of the default bridge
	Mounts  []containerspec.MountPoint
	State   Progress
	// RestartCount counts starts by the restart policy since the user's own.
	RestartCount int
	Stopped      bool // by the user: "unless-stopped" leaves it alone
	Managed      bool // it runs a task of a swarm
	// Health is nil without a health check; a new value is put in its stead too.
	Health *container.Health
	// ResolvHash is the SHA-256 of the resolv.conf that was written last; another
	// content is the user's.
	ResolvHash string
	// OwnEntries are the lines of its own addresses that were written to hosts last.
	OwnEntries []names.HostEntry
	// FormerName is the name before the last rename, and FormerLinks are lines of
	// hosts that the last removal of a link took out. Hosts files are written after
	// the record: where the daemon was killed in between, they may have that still.
	FormerName  string
	FormerLinks []names.HostEntry
}

// Link is a `--link` of the default bridge: the one who has it finds the target
// under the alias in its hosts file. It is to a container, whatever that comes to
// be called, and ends with it.
type Link struct {
	Target model.ContainerID
	Alias  string
}

// LinkName is what Docker calls a link: "/container/alias".
func (r Record) LinkName(l Link) string { return "/" + r.Name + "/" + l.Alias }

// Progress is how far a container's process has come.
type Progress struct {
	Running    bool
	Paused     bool
	Restarting bool // ended, and to be started again
	OOMKilled  bool
	Pid        int
	ExitCode   int
	Error      string // why the last start failed
	// Retries are starts that followed, by the restart policy, on one that failed.
	Retries    int
	StartedAt  time.Time
	FinishedAt time.Time
}

// stored is a record as it is written. Its names, and those of all structs below
// it, are for ever.
type stored struct {
	Version      int               `json:"Version"`
	ID           model.ContainerID `json:"ID"`
	Name         string            `json:"Name"`
	Created      time.Time         `json:"Created,omitzero"`
	Image        model.ImageID     `json:"Image,omitzero"`
	Sandbox      model.SandboxID   `json:"Sandbox,omitzero"`
	Config       *storedConfig     `json:"Config"`
	Host         *storedHost       `json:"Host"`
	Links        []storedLink      `json:"Links,omitzero"`
	Bound        []portRun         `json:"Bound,omitzero"`   // HostConfig.PortBindings
	Exposed      []portRun         `json:"Exposed,omitzero"` // Config.ExposedPorts
	Mounts       []storedPoint     `json:"Mounts,omitzero"`
	State        storedProgress    `json:"State,omitzero"`
	RestartCount int               `json:"RestartCount,omitzero"`
	Stopped      bool              `json:"Stopped,omitzero"`
	Managed      bool              `json:"Managed,omitzero"`
	Health       *storedHealth     `json:"Health,omitzero"`
	ResolvHash   string            `json:"ResolvHash,omitzero"`
	OwnEntries   []storedEntry     `json:"OwnEntries,omitzero"`
	FormerName   string            `json:"FormerName,omitzero"`
	FormerLinks  []storedEntry     `json:"FormerLinks,omitzero"`
}

type storedLink struct {
	Target model.ContainerID `json:"Target"`
	Alias  string            `json:"Alias"`
}

type storedProgress struct {
	Running    bool      `json:"Running,omitzero"`
	Paused     bool      `json:"Paused,omitzero"`
	Restarting bool      `json:"Restarting,omitzero"`
	OOMKilled  bool      `json:"OOMKilled,omitzero"`
	Pid        int       `json:"Pid,omitzero"`
	ExitCode   int       `json:"ExitCode,omitzero"`
	Error      string    `json:"Error,omitzero"`
	Retries    int       `json:"Retries,omitzero"`
	StartedAt  time.Time `json:"StartedAt,omitzero"`
	FinishedAt time.Time `json:"FinishedAt,omitzero"`
}

// Encode returns the record as it is stored. Errors: a time that JSON does not
// have.
func Encode(r Record) ([]byte, error) {
	raw, err := json.Marshal(toStored(r))
	if err != nil {
		return nil, fmt.Errorf("encode record of container %s: %w", model.Short(r.ID), err)
	}
	return raw, nil
}

// Decode reads what Encode wrote, in this or an earlier version, for the container
// of that ID. Errors: it is of a newer version, of another container, or damaged.
func Decode(id model.ContainerID, raw []byte) (Record, error) {
	var s stored
	if err := json.Unmarshal(raw, &s); err != nil {
		return Record{}, fmt.Errorf("record of container %s: %w", model.Short(id), err)
	}
	switch {
	case s.Version > Version:
		return Record{}, fmt.Errorf("record of container %s has version %d: this daemon reads up to %d", model.Short(id), s.Version, Version)
	case s.ID != id || s.Name == "" || s.Config == nil || s.Host == nil:
		return Record{}, fmt.Errorf("record of container %s is incomplete", model.Short(id))
	}
	r, err := s.record()
	if err != nil {
		return Record{}, fmt.Errorf("record of container %s: %w", model.Short(id), err)
	}
	return r, nil
}

func toStored(r Record) stored {
	s := stored{
		Version: Version,
		ID:      r.ID, Name: r.Name, Created: r.Created, Image: r.Image, Sandbox: r.Sandbox,
		Config: toConfig(r.Config), Host: toHost(r.Host),
		Links:  each(r.Links, func(l Link) storedLink { return storedLink(l) }),
		Mounts: each(r.Mounts, toPoint),
		State:  storedProgress(r.State), RestartCount: r.RestartCount, Stopped: r.Stopped, Managed: r.Managed,
		Health: toHealth(r.Health), ResolvHash: r.ResolvHash,
		OwnEntries: each(r.OwnEntries, func(e names.HostEntry) storedEntry { return storedEntry(e) }),
		FormerName: r.FormerName, FormerLinks: each(r.FormerLinks, func(e names.HostEntry) storedEntry { return storedEntry(e) }),
	}
	if r.Host != nil {
		s.Bound = packBindings(r.Host.PortBindings)
	}
	if r.Config != nil {
		s.Exposed = packSet(r.Config.ExposedPorts)
	}
	return s
}

// record is the way back. Config and Host are there.
func (s stored) record() (Record, error) {
	r := Record{
		ID: s.ID, Name: s.Name, Created: s.Created, Image: s.Image, Sandbox: s.Sandbox,
		Config: s.Config.docker(), Host: s.Host.docker(),
		Links:  each(s.Links, func(l storedLink) Link { return Link(l) }),
		Mounts: each(s.Mounts, storedPoint.point),
		State:  Progress(s.State), RestartCount: s.RestartCount, Stopped: s.Stopped, Managed: s.Managed,
		Health: s.Health.docker(), ResolvHash: s.ResolvHash,
		OwnEntries: each(s.OwnEntries, func(e storedEntry) names.HostEntry { return names.HostEntry(e) }),
		FormerName: s.FormerName, FormerLinks: each(s.FormerLinks, func(e storedEntry) names.HostEntry { return names.HostEntry(e) }),
	}
	var err error
	if r.Host.PortBindings, err = readBindings(s.Bound, s.Host.PortBindings); err != nil {
		return r, err
	}
	r.Config.ExposedPorts, err = readSet(s.Exposed, s.Config.ExposedPorts)
	return r, err
}

// each returns what f makes of a list; nil of nil.
func each[A, B any](list []A, f func(A) B) []B {
	if list == nil {
		return nil
	}
	out := make([]B, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// ref returns what f makes of a value that may be missing; nil of nil.
func ref[A, B any](v *A, f func(A) B) *B {
	if v == nil {
		return nil
	}
	out := f(*v)
	return &out
}
