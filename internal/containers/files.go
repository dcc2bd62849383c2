package containers

import (
	"context"

	"github.com/linkspan/linkspan/internal/containers/archive"
	"github.com/linkspan/linkspan/internal/containers/containerfiles"
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
	spec := c.drafts.specs.spec(rec, netns{}, c.drafts.dirs.Files(b.id))
	if err := c.drafts.ensure(ctx, b, spec); err != nil {
		b.opLock.release()
		return v, nil, err
	}
	return model.FileView{ID: b.id, Mounts: spec.Mounts}, b.opLock.release, nil
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
