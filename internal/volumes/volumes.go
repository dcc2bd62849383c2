// Package volumes is the hub for volumes: make, list, remove, prune, and who uses which,
// for whichever door asks and for the containers that mount them.
//
//	door, containers ─▶ Create, Use ─▶ Store ─▶ events ─▶ answer
//	containers ─▶ Mount … Unmount ─▶ Release
//
// It promises that a volume that a container has is not removed, and that what a volume's
// options name is mounted exactly while a container that runs has it. How a volume lies on
// disk, the store knows. It must not know what a container is beyond its ID.
//
// Locks. One verb at a time is about a volume: the lock of its name is held across calls
// to the store, which may wait for a server of files. Manager.mu guards fields only and is
// never held across a call.
package volumes

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/ids"
	"github.com/linkspan/linkspan/internal/model"
)

// errInUse is the reason why a volume is not removed that a container has.
var errInUse = errors.New("volume is in use")

// Driver is the one driver of volumes that there is.
const Driver = "local"

// Store keeps volumes on disk.
type Store interface {
	List() ([]model.Volume, error)
	// Make makes a volume whole or not at all, and returns it with its place.
	Make(v model.Volume) (model.Volume, error)
	// Remove removes a volume; one that is gone is success.
	Remove(name string) error
	// Size returns the bytes that its files have.
	Size(ctx context.Context, name string) (int64, error)
}

// Mounter mounts what volumes' options name, and parts of volumes.
type Mounter interface {
	// Mount and Unmount may be called again for what is so already.
	Mount(ctx context.Context, v model.Volume) error
	Unmount(v model.Volume) error
	// MountPart mounts what u.Subpath leads to in the folder of a volume or an image at u.Part.
	MountPart(id model.ContainerID, folder string, u model.VolumeUse) error
	UnmountParts(id model.ContainerID) error
	// PartOf returns where a part comes to lie that a container has at target.
	PartOf(id model.ContainerID, target string) string
	// Sweep unmounts what an earlier daemon left, but for volumes that are used.
	Sweep(used func(name string) bool, all []model.Volume) error
}

// Images shows the files of images.
type Images interface {
	// Show calls look with a folder in which an image's files are, read-only, until it returns.
	Show(ctx context.Context, id model.ImageID, look func(folder string) error) error
}

// Publisher is told what happens to volumes.
type Publisher interface {
	// Publish does not wait for anybody.
	Publish(e events.Message)
}

// Options are what a Manager is made of. All but Logger are needed.
type Options struct {
	Store   Store
	Mounter Mounter
	Images  Images // nil: none can be mounted
	Origin  Origin // nil: nothing is imported
	Events  Publisher
	Logger  *slog.Logger
}

// Manager knows all volumes. Its methods may be called from any goroutine.
type Manager struct {
	store   Store
	mounter Mounter
	images  Images
	origin  Origin
	events  Publisher
	log     *slog.Logger
	locks   names
	pruning atomic.Bool // one prune at a time

	mu      sync.Mutex
	volumes map[string]*volume
	mounted map[model.ContainerID][]model.VolumeUse // of containers that run
}

// volume is one volume, and who has it. It is guarded by Manager.mu.
type volume struct {
	model.Volume
	users   map[model.ContainerID]bool // that have it, running or not
	runners map[model.ContainerID]bool // that have it mounted
}

// New returns a manager of the volumes that a store has. Nobody uses any yet: Adopt tells.
func New(o Options) (*Manager, error) {
	m := &Manager{store: o.Store, mounter: o.Mounter, images: o.Images, origin: o.Origin, events: o.Events, log: o.Logger,
		volumes: map[string]*volume{}, mounted: map[model.ContainerID][]model.VolumeUse{}}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	all, err := o.Store.List()
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if err := checkName(v.Name); err != nil {
			m.log.Warn("folder is no volume", "op", "volume.open", "volume", v.Name, "err", err)
			continue
		}
		m.volumes[v.Name] = newVolume(v)
	}
	return m, nil
}

func newVolume(v model.Volume) *volume {
	return &volume{Volume: v, users: map[model.ContainerID]bool{}, runners: map[model.ContainerID]bool{}}
}

// Create makes a volume, or returns the one of that name. Errors: Invalid for a name or
// options that cannot be, NotFound for a driver, Conflict if the name is another driver's.
func (m *Manager) Create(ctx context.Context, r model.VolumeRequest) (model.Volume, error) {
	return m.use(ctx, "", r)
}

// Use is Create for a container, which has the volume until Release.
func (m *Manager) Use(ctx context.Context, id model.ContainerID, r model.VolumeRequest) (model.Volume, error) {
	return m.use(ctx, id, r)
}

func (m *Manager) use(ctx context.Context, id model.ContainerID, r model.VolumeRequest) (model.Volume, error) {
	v, err := fromRequest(r, time.Now())
	if err != nil {
		return model.Volume{}, failed("create", v.Name, err)
	}
	release, err := m.locks.take(ctx, v.Name)
	if err != nil {
		return model.Volume{}, failed("create", v.Name, err)
	}
	defer release()
	if have, ok := m.hold(v.Name, id); ok {
		return have, nil
	}
	if v, err = m.store.Make(v); err != nil {
		return model.Volume{}, failed("create", v.Name, err)
	}
	m.mu.Lock()
	m.volumes[v.Name] = newVolume(v)
	m.mu.Unlock()
	m.hold(v.Name, id)
	m.events.Publish(events.Volume(dockerevents.ActionCreate, v))
	return v, nil
}

// fromRequest returns the volume that is asked for.
func fromRequest(r model.VolumeRequest, now time.Time) (model.Volume, error) {
	v := model.Volume{Name: r.Name, Driver: r.Driver, Created: now.UTC(), Labels: maps.Clone(r.Labels), Options: maps.Clone(r.Options)}
	if v.Driver == "" {
		v.Driver = Driver
	}
	if v.Name == "" {
		v.Name = ids.New()
		if v.Labels == nil {
			v.Labels = map[string]string{}
		}
		v.Labels[model.LabelAnonymous] = ""
	}
	if v.Driver != Driver {
		return v, model.Errorf(model.NotFound, "error looking up volume plugin %s: plugin %q not found", v.Driver, v.Driver)
	}
	if err := checkName(v.Name); err != nil {
		return v, err
	}
	return v, CheckOptions(v.Options)
}

// hold notes that a container has a volume; false if there is no such volume. An empty ID
// is nobody.
func (m *Manager) hold(name string, id model.ContainerID) (model.Volume, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.volumes[name]
	if !ok {
		return model.Volume{}, false
	}
	if id != "" {
		v.users[id] = true
	}
	return v.Volume, true
}

// Get returns a volume; NotFound if there is none of that name.
func (m *Manager) Get(name string) (model.Volume, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.volumes[name]; ok {
		return v.Volume, nil
	}
	return model.Volume{}, noSuch("get", name)
}

// Remove removes a volume that no container has. With force it is no error if there is
// none. Errors: NotFound; Conflict for one in use.
func (m *Manager) Remove(ctx context.Context, name string, force bool) error {
	if _, err := m.Get(name); err != nil {
		if force {
			return nil
		}
		return err
	}
	release, err := m.locks.take(ctx, name)
	if err != nil {
		return failed("remove", name, err)
	}
	defer release()
	m.mu.Lock()
	v, ok := m.volumes[name]
	var users []string
	if ok {
		for id := range v.users {
			users = append(users, string(id))
		}
	}
	m.mu.Unlock()
	if !ok {
		return nil // somebody else was quicker
	}
	if len(users) > 0 {
		slices.Sort(users)
		return failed("remove", name, model.Errorf(model.Conflict, "%w - [%s]", errInUse, strings.Join(users, ", ")))
	}
	if err := m.mounter.Unmount(v.Volume); err != nil {
		return failed("remove", name, err)
	}
	if err := m.store.Remove(name); err != nil {
		return failed("remove", name, err)
	}
	m.mu.Lock()
	delete(m.volumes, name)
	m.mu.Unlock()
	m.events.Publish(events.Volume(dockerevents.ActionDestroy, v.Volume))
	return nil
}

// checkName refuses what cannot be the name of a folder, in Docker's words.
func checkName(name string) error {
	if len(name) == 1 {
		return model.Errorf(model.Invalid, "volume name is too short, names should be at least two alphanumeric characters")
	}
	fits := name != "" && strings.Trim(name[:1], alphanumeric) == "" && strings.Trim(name, alphanumeric+"_.-") == ""
	if !fits {
		return model.Errorf(model.Invalid, "%q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name)
	}
	if len(name) > maxName {
		return model.Errorf(model.Invalid, "volume name is too long (maximum %d bytes)", maxName)
	}
	return nil
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

	// maxName is what a file system takes (NAME_MAX, 255), less what the folder of a
	// volume that is being removed has more.
	maxName = 230
)

// failed puts before an error what was done to which volume, as Docker does.
func failed(verb, name string, err error) error {
	return model.Errorf(model.KindOf(err), "%s %s: %w", verb, name, err)
}

func noSuch(verb, name string) error {
	return model.Errorf(model.NotFound, "%s %s: no such volume", verb, name)
}

// all returns every volume, sorted by name.
func (m *Manager) all() []model.Volume {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]model.Volume, 0, len(m.volumes))
	for _, name := range slices.Sorted(maps.Keys(m.volumes)) {
		out = append(out, m.volumes[name].Volume)
	}
	return out
}

// users returns how many containers have a volume.
func (m *Manager) users(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.volumes[name]; ok {
		return len(v.users)
	}
	return 0
}

// PartOf returns where the part of a volume comes to lie that a container has at target.
func (m *Manager) PartOf(id model.ContainerID, target string) string {
	return m.mounter.PartOf(id, filepath.Clean(target))
}
