// Package mounts resolves what a container shall have mounted: what its user, its image and
// other containers say, to volumes that are made and directories of the host that are made
// where Docker does.
//
// It promises that two mounts never meet at one place without a word, and that what the
// image declares is covered by what the user says. What a mount means is decided by package
// containerspec; volumes are kept by who is asked for them.
package mounts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// Volumes makes volumes for containers.
type Volumes interface {
	// Use returns a volume, made if it is not there, which a container then has.
	Use(ctx context.Context, id model.ContainerID, r model.VolumeRequest) (model.Volume, error)
}

// Resolver resolves the mounts of one container.
type Resolver struct {
	Volumes Volumes
	ID      model.ContainerID
	// Image finds the image that a mount of one names.
	Image func(ctx context.Context, ref string) (model.Image, error)
	// Inherited returns the mounts of the containers that --volumes-from names.
	Inherited func() ([]containerspec.MountPoint, error)
}

// resolution is what was found so far.
type resolution struct {
	*Resolver
	ctx    context.Context
	driver string
	out    []containerspec.MountPoint
	own    map[string]bool // places that the container's own request names
}

// Resolve returns all mounts of a container with that configuration. What the request
// names takes the place of what it inherits, and both of what the image declares; two at
// one place are refused. After an error, what was made is returned with it.
func (r *Resolver) Resolve(ctx context.Context, c *container.Config, h *container.HostConfig) ([]containerspec.MountPoint, error) {
	s := &resolution{Resolver: r, ctx: ctx, driver: h.VolumeDriver, own: map[string]bool{}}
	for _, step := range []func() error{
		func() error { return s.binds(h.Binds) },
		func() error { return s.mounts(h.Mounts) },
		func() error { return s.tmpfs(h.Tmpfs) },
		s.inherit,
		func() error { return s.declared(c.Volumes) },
	} {
		if err := step(); err != nil {
			return s.out, err
		}
	}
	return s.out, nil
}

// add takes a mount of the container's own request.
func (s *resolution) add(p containerspec.MountPoint) error {
	if s.own[p.Destination] {
		return model.Errorf(model.Invalid, "Duplicate mount point: %s", p.Destination)
	}
	s.own[p.Destination] = true
	s.out = append(s.out, p)
	return nil
}

// binds takes what -v says. A source on the host that is not there is made.
func (s *resolution) binds(all []string) error {
	for _, raw := range all {
		m, mode, err := containerspec.ParseBind(raw, s.driver)
		if err != nil {
			return err
		}
		p, err := s.point(m)
		if err == nil && m.Type == mount.TypeBind {
			err = makeSource(p.Source)
		}
		if err != nil {
			return err
		}
		if mode != "" {
			p.Mode = mode
		}
		if err := s.add(p); err != nil {
			return err
		}
	}
	return nil
}

// mounts takes what --mount says.
func (s *resolution) mounts(all []mount.Mount) error {
	for _, m := range all {
		if err := containerspec.CheckMount(m); err != nil {
			return err
		}
		p, err := s.point(m)
		if err != nil {
			return err
		}
		if m.Type == mount.TypeBind {
			if m.BindOptions != nil && m.BindOptions.CreateMountpoint {
				err = makeSource(p.Source)
			} else if !exists(p.Source) {
				err = model.Errorf(model.Invalid, "invalid mount config for type %q: bind source path does not exist: %s", m.Type, m.Source)
			}
		}
		if err != nil {
			return err
		}
		if err := s.add(p); err != nil {
			return err
		}
	}
	return nil
}

// tmpfs takes what --tmpfs says.
func (s *resolution) tmpfs(all map[string]string) error {
	for _, target := range slices.Sorted(maps.Keys(all)) {
		p, err := containerspec.TmpfsPoint(target, all[target])
		if err != nil {
			return err
		}
		if err := s.add(p); err != nil {
			return err
		}
	}
	return nil
}

// inherit takes the mounts of other containers, and holds their volumes. Of two at one
// place the later one counts.
func (s *resolution) inherit() error {
	theirs, err := s.Inherited()
	if err != nil {
		return err
	}
	for _, p := range theirs {
		if s.own[p.Destination] {
			continue
		}
		if p.Type == mount.TypeVolume {
			if _, err := s.Volumes.Use(s.ctx, s.ID, model.VolumeRequest{Name: p.Name, Driver: p.Driver}); err != nil {
				return err
			}
		}
		s.out = slices.DeleteFunc(s.out, func(o containerspec.MountPoint) bool { return o.Destination == p.Destination })
		s.out = append(s.out, p)
	}
	return nil
}

// declared adds a volume without a name for each that the image or `-v PATH` declares and
// that nothing else covers.
func (s *resolution) declared(all map[string]struct{}) error {
	for _, target := range slices.Sorted(maps.Keys(all)) {
		m := mount.Mount{Type: mount.TypeVolume, Target: target}
		if s.driver != "" {
			m.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: s.driver}}
		}
		if slices.ContainsFunc(s.out, func(p containerspec.MountPoint) bool { return p.Destination == filepath.Clean(target) }) {
			continue
		}
		if err := containerspec.CheckMount(m); err != nil {
			return err
		}
		p, err := s.point(m)
		if err != nil {
			return err
		}
		p.Mode = "" // as Docker tells of it
		s.out = append(s.out, p)
	}
	return nil
}

// point returns the mount that a checked request means, with its volume made.
func (s *resolution) point(m mount.Mount) (containerspec.MountPoint, error) {
	p, err := containerspec.Point(m)
	if err == nil && m.Type == mount.TypeImage {
		return s.imagePoint(p)
	}
	if err != nil || m.Type != mount.TypeVolume {
		return p, err
	}
	r := model.VolumeRequest{Name: m.Source}
	if o := m.VolumeOptions; o != nil {
		r.Labels = o.Labels
		if o.DriverConfig != nil {
			r.Driver, r.Options = o.DriverConfig.Name, o.DriverConfig.Options
		}
	}
	v, err := s.Volumes.Use(s.ctx, s.ID, r)
	if model.KindOf(err) == model.NotFound {
		err = model.Errorf(model.Invalid, "%s", err) // else the docker command would look for an image
	}
	if err != nil {
		return p, err
	}
	p.Name, p.Driver, p.Source, p.Mode = v.Name, v.Driver, v.Mountpoint, "z"
	return p, nil
}

// imagePoint finds the image of a mount: what its name means later on changes nothing.
func (s *resolution) imagePoint(p containerspec.MountPoint) (containerspec.MountPoint, error) {
	i, err := s.Image(s.ctx, p.Name)
	switch {
	case model.KindOf(err) == model.NotFound:
		return p, model.Errorf(model.Invalid, "%s", err) // else the docker command would look for the container's image
	case err == nil && i.Damaged != "":
		return p, model.Errorf(model.Unavailable, "image %s cannot be read: %s", p.Name, i.Damaged)
	}
	p.Source = string(i.ID)
	return p, err
}

// makeSource makes the directory to bind, unless something is there.
func makeSource(path string) error {
	if exists(path) {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("error while creating mount source path '%s': %w", path, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Unfilled tells whether there is a volume among mounts that is to get what the image has for it,
// and has nothing yet.
func Unfilled(all []model.Mount) bool {
	return slices.ContainsFunc(all, func(m model.Mount) bool {
		if !m.CopyUp {
			return false
		}
		folder, err := os.Open(m.Source)
		if err != nil {
			return true // whoever fills it says why
		}
		defer folder.Close() //nolint:errcheck // nothing was written
		_, err = folder.Readdirnames(1)
		return err != nil
	})
}
