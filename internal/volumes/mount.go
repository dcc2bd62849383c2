package volumes

import (
	"context"
	"errors"
	"slices"
	"strconv"

	dockerevents "github.com/moby/moby/api/types/events"

	"github.com/linkspan/linkspan/internal/events"
	"github.com/linkspan/linkspan/internal/model"
)

// Adopt notes what a container of an earlier daemon has, and that it runs with that
// mounted. Nothing is said of it. Volumes that are gone are left out: the container's next
// start tells.
func (m *Manager) Adopt(id model.ContainerID, uses []model.VolumeUse, runs bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range uses {
		v, ok := m.volumes[u.Name]
		if !ok { // or an image
			continue
		}
		v.users[id] = true
		if runs {
			v.runners[id] = true
		}
	}
	if runs {
		m.mounted[id] = slices.Clone(uses)
	}
}

// Adopted says that all containers were adopted: what an earlier daemon left mounted for
// nobody is taken away. What cannot be is logged.
func (m *Manager) Adopted() {
	runs := func(name string) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		v, ok := m.volumes[name]
		return ok && len(v.runners) > 0
	}
	if err := m.mounter.Sweep(runs, m.all()); err != nil {
		m.log.Warn("mounts of volumes stay", "op", "volume.open", "err", err)
	}
}

// Mount has everything mounted that a container is about to have. It is called before
// the container's process is made, and settled once that is done; Unmount follows in any
// case. Errors: NotFound for a volume or a part that is gone.
func (m *Manager) Mount(ctx context.Context, id model.ContainerID, uses []model.VolumeUse) (settled func(), err error) {
	if len(uses) == 0 {
		return func() {}, nil
	}
	m.mu.Lock()
	m.mounted[id] = nil
	m.mu.Unlock()
	for _, u := range uses {
		if err := m.mountOne(ctx, id, u); err != nil {
			return nil, err
		}
	}
	return func() { m.unmountParts(id) }, nil
}

func (m *Manager) mountOne(ctx context.Context, id model.ContainerID, u model.VolumeUse) error {
	if u.Image != "" {
		return m.mountImage(ctx, id, u)
	}
	release, err := m.locks.take(ctx, u.Name)
	if err != nil {
		return failed("get", u.Name, err)
	}
	defer release()
	m.mu.Lock()
	v, ok := m.volumes[u.Name]
	m.mu.Unlock()
	if !ok {
		return noSuch("get", u.Name)
	}
	if err := m.mounter.Mount(ctx, v.Volume); err != nil {
		return err
	}
	m.mu.Lock()
	v.users[id], v.runners[id] = true, true
	m.mounted[id] = append(m.mounted[id], u)
	m.mu.Unlock()
	if u.Subpath != "" {
		if err := m.mounter.MountPart(id, v.Mountpoint, u); err != nil {
			return err
		}
	}
	if u.Quiet {
		return nil
	}
	m.events.Publish(events.Volume(dockerevents.ActionMount, v.Volume, "container", string(id), "destination", u.Target,
		"read/write", strconv.FormatBool(!u.ReadOnly), "propagation", ""))
	return nil
}

// mountImage mounts an image's files at their place. They stay mounted as a part of a volume does.
func (m *Manager) mountImage(ctx context.Context, id model.ContainerID, u model.VolumeUse) error {
	if m.images == nil {
		return model.Errorf(model.NotImplemented, "no images can be mounted here")
	}
	m.mu.Lock()
	m.mounted[id] = append(m.mounted[id], u)
	m.mu.Unlock()
	return m.images.Show(ctx, u.Image, func(folder string) error { return m.mounter.MountPart(id, folder, u) })
}

func (m *Manager) unmountParts(id model.ContainerID) {
	if err := m.mounter.UnmountParts(id); err != nil {
		m.log.Warn("parts of volumes stay mounted", "op", "volume.mount", "container", model.Short(id), "err", err)
	}
}

// Unmount says that a container's process has ended: what nobody else has mounted is
// unmounted. Nothing mounted is nothing to do. What cannot be unmounted is logged: it is
// tried again with the next.
func (m *Manager) Unmount(id model.ContainerID) {
	m.mu.Lock()
	uses, ok := m.mounted[id]
	delete(m.mounted, id)
	m.mu.Unlock()
	if !ok {
		return
	}
	m.unmountParts(id)
	for _, u := range uses {
		if u.Image != "" {
			continue // was a part
		}
		if err := m.unmountOne(id, u); err != nil {
			m.log.Warn("volume stays mounted", "op", "volume.unmount", "volume", u.Name, "container", model.Short(id), "err", err)
		}
	}
}

func (m *Manager) unmountOne(id model.ContainerID, u model.VolumeUse) error {
	name := u.Name
	release, err := m.locks.take(context.Background(), name)
	if err != nil {
		return err
	}
	defer release()
	m.mu.Lock()
	v, ok := m.volumes[name]
	last := false
	if ok {
		delete(v.runners, id)
		last = len(v.runners) == 0
	}
	m.mu.Unlock()
	if !ok {
		return nil
	}
	if last {
		err = m.mounter.Unmount(v.Volume)
	}
	if !u.Quiet {
		m.events.Publish(events.Volume(dockerevents.ActionUnmount, v.Volume, "container", string(id)))
	}
	return err
}

// Release says that a container is gone, or was never made. Its volumes that are named in
// remove go with it, unless another container has them.
func (m *Manager) Release(ctx context.Context, id model.ContainerID, remove []string) error {
	m.Unmount(id)
	m.mu.Lock()
	for _, v := range m.volumes {
		delete(v.users, id)
	}
	m.mu.Unlock()
	var errs []error
	for _, name := range remove {
		// Who has it takes it along when he goes, which may be by now.
		if err := m.Remove(ctx, name, true); err != nil && !errors.Is(err, errInUse) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
