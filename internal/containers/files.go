package containers

import (
	"context"
	"slices"

	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
	"github.com/linkspan/linkspan/internal/containers/mounts"
	"github.com/linkspan/linkspan/internal/containers/stats"
	"github.com/linkspan/linkspan/internal/model"
)

// drafts gives containers that never ran a file system, for those who want to see it.
type drafts struct {
	*registry
	*announcer
	runtime Containers
	specs   *specs
	dirs    containerfiles.Dirs
}

// withArchive is a container as those know it who copy its files.
type withArchive struct {
	handle
	drafts *drafts
}

// container finds a container for package archive.
func (d *drafts) container(ref string) (archive.Container, error) {
	b, err := d.find(ref)
	if err != nil {
		return nil, err
	}
	return withArchive{handle{d.announcer, b}, d}, nil
}

// metered finds a container for package stats.
func (d *drafts) metered(ref string) (stats.Container, error) {
	b, err := d.find(ref)
	if err != nil {
		return nil, err
	}
	return handle{d.announcer, b}, nil
}

// View implements archive.Container.
func (c withArchive) View(ctx context.Context) (v model.FileView, done func(), err error) {
	b, err := c.drafts.acquire(ctx, string(c.b.id))
	if err != nil {
		return v, nil, err
	}
	rec := b.snapshot()
	if rec.State.Running && rec.State.Pid != 0 {
		b.opLock.release()
		return model.FileView{ID: b.id, Pid: rec.State.Pid}, func() {}, nil
	}
	release, err := c.drafts.specs.mounted(ctx, rec, false, func(spec model.ContainerSpec) error {
		v = model.FileView{ID: b.id, Mounts: spec.Mounts}
		return c.drafts.ensure(ctx, b, spec)
	})
	if err != nil {
		b.opLock.release()
		return v, nil, err
	}
	return v, func() { release(); b.opLock.release() }, nil
}

// mounted has the volumes of a container that does not run mounted while do is at work and
// until release is called; quiet says nothing of it to who hears events. The caller holds opLock.
func (s *specs) mounted(ctx context.Context, rec record, quiet bool, do func(model.ContainerSpec) error) (release func(), err error) {
	uses := mounts.Uses(s.volumes, rec.plain())
	for i := range uses {
		uses[i].Quiet = quiet
	}
	settled, err := s.volumes.Mount(ctx, rec.ID, uses)
	release = func() { s.volumes.Unmount(rec.ID) }
	if err == nil {
		release = func() { settled(); s.volumes.Unmount(rec.ID) }
		err = do(s.spec(rec, netns{}, s.dirs.Files(rec.ID)))
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// fill gives a container that is being made its file system if volumes of its own are to get
// what the image has for them; draft says that it did.
func (cr *creator) fill(ctx context.Context, rec record) (draft bool, err error) {
	if !slices.ContainsFunc(cr.specs.spec(rec, netns{}, cr.dirs.Files(rec.ID)).Mounts, func(m model.Mount) bool { return m.CopyUp }) {
		return false, nil
	}
	release, err := cr.specs.mounted(ctx, rec, true, func(spec model.ContainerSpec) error {
		if draft = mounts.Unfilled(spec.Mounts); !draft {
			return nil
		}
		return cr.runtime.Draft(ctx, spec)
	})
	switch {
	case err == nil:
		release()
	case model.KindOf(err) == model.NotFound: // a part that is not there yet: the start tells, and fills
		return false, nil
	}
	return draft, err
}

// ensure has the runtime make a container's file system if it has none. The caller holds
// opLock.
func (d *drafts) ensure(ctx context.Context, b *entry, spec model.ContainerSpec) error {
	b.mu.Lock()
	there, tried := b.made || b.draft, b.tried
	b.mu.Unlock()
	if there {
		return nil
	}
	if tried {
		if err := d.runtime.Delete(ctx, b.id); err != nil {
			return err
		}
	}
	if err := d.runtime.Draft(context.WithoutCancel(ctx), spec); err != nil {
		return err
	}
	b.mu.Lock()
	b.draft = true
	b.mu.Unlock()
	return nil
}
