// Package archive copies files into containers and out of them: docker cp, export, diff.
//
// It promises that a container which does not run is not started while its files are
// looked at, and that one which runs is not held up by whoever copies. Where paths lead is
// decided in the container's own tree, by the hand that has the files (Files).
package archive

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/linkspan/linkspan/internal/containerrecord"
	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// Container is one whose files are copied.
type Container interface {
	ID() model.ContainerID
	Record() containerrecord.Record
	// View says from where the container's files are seen. One that does not run is not
	// started, and no other verb is done with it, until done is called.
	View(ctx context.Context) (v model.FileView, done func(), err error)
	// Say publishes an event of the container.
	Say(action events.Action, pairs ...string)
}

// Files reaches the files of containers. A process that has ended meanwhile is NotFound.
type Files interface {
	Stat(ctx context.Context, v model.FileView, name string) (model.FileStat, error)
	// Read writes a tar archive to what begin returns, once the file is known.
	Read(ctx context.Context, v model.FileView, name string, begin func(model.FileStat) (io.Writer, error)) error
	// Write unpacks a tar archive, which may be compressed.
	Write(ctx context.Context, v model.FileView, name string, in io.Reader, o model.ExtractOptions) error
	// Export writes what the container's layers show as a tar archive.
	Export(ctx context.Context, id model.ContainerID, out io.Writer) error
	Changes(ctx context.Context, id model.ContainerID) ([]model.FileChange, error)
}

// Archive copies files. Its methods may be called from any goroutine.
type Archive struct {
	files Files
	find  func(ref string) (Container, error)
}

// New returns who copies the files of containers that find finds.
func New(files Files, find func(ref string) (Container, error)) *Archive {
	return &Archive{files: files, find: find}
}

// PutOptions say how an archive is unpacked. NoOverwriteDirNonDir refuses to put a folder in
// the place of something else, or the reverse. CopyUIDGID gives what is unpacked to the
// container's user.
type PutOptions struct{ NoOverwriteDirNonDir, CopyUIDGID bool }

// Stat returns what is known of a file by its path in the container. Errors: NotFound.
func (a *Archive) Stat(ctx context.Context, ref, path string) (container.PathStat, error) {
	var out container.PathStat
	_, err := a.in(ctx, ref, path, func(v model.FileView) error {
		found, err := a.files.Stat(ctx, v, path)
		out = pathStat(found)
		return err
	})
	return out, err
}

// Get writes a file, or a folder and all in it, as a tar archive to what begin returns; it
// is told what the file is before that. Errors before begin was called: NotFound.
func (a *Archive) Get(ctx context.Context, ref, path string, begin func(container.PathStat) (io.Writer, error)) error {
	c, err := a.in(ctx, ref, path, func(v model.FileView) error {
		return a.files.Read(ctx, v, path, func(found model.FileStat) (io.Writer, error) { return begin(pathStat(found)) })
	})
	if err == nil {
		c.Say(events.ActionArchivePath)
	}
	return err
}

// Put unpacks a tar archive into a folder of the container. Errors: NotFound if there is no
// such path, Invalid if it is no folder or may not be written.
func (a *Archive) Put(ctx context.Context, ref, path string, in io.Reader, o PutOptions) error {
	c, err := a.in(ctx, ref, path, func(v model.FileView) error {
		c, err := a.find(string(v.ID))
		if err != nil {
			return err
		}
		rec := c.Record()
		how := model.ExtractOptions{Keep: o.NoOverwriteDirNonDir, Check: func(folder string) error { return writable(rec, v.Pid != 0, folder) }}
		if o.CopyUIDGID {
			how.User = rec.Config.User
		}
		return a.files.Write(ctx, v, path, in, how)
	})
	if err == nil {
		c.Say(events.ActionExtractToDir)
	}
	return err
}

// in calls do with a view of a container's files. A process that ends just then makes it one
// of a container that does not run.
func (a *Archive) in(ctx context.Context, ref, path string, do func(model.FileView) error) (Container, error) {
	c, err := a.find(ref)
	if err != nil {
		return nil, err
	}
	once := func() (runs bool, err error) {
		v, done, err := c.View(ctx)
		if err != nil {
			return false, err
		}
		defer done()
		return v.Pid != 0, do(v)
	}
	runs, err := once()
	if runs && model.KindOf(err) == model.NotFound {
		_, err = once()
	}
	if errors.Is(err, model.ErrNoFile) {
		return c, model.Errorf(model.NotFound, "Could not find the file %s in container %s", path, ref)
	}
	return c, err
}

// Export writes all of a container's own file system, without what is mounted in it, as a
// tar archive.
func (a *Archive) Export(ctx context.Context, ref string, out io.Writer) error {
	c, done, err := a.made(ctx, ref)
	if err != nil {
		return err
	}
	defer done()
	if err := a.files.Export(ctx, c.ID(), out); err != nil {
		return model.Errorf(model.KindOf(err), "Error exporting container %s: %w", ref, err)
	}
	c.Say(events.ActionExport)
	return nil
}

// Changes returns how a container's files differ from those of its image; nil if they do
// not.
func (a *Archive) Changes(ctx context.Context, ref string) ([]container.FilesystemChange, error) {
	c, done, err := a.made(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := a.files.Changes(ctx, c.ID())
	var out []container.FilesystemChange
	for _, f := range found {
		out = append(out, container.FilesystemChange{Kind: container.ChangeType(f.Kind), Path: f.Path})
	}
	return out, err
}

// made finds a container that has a file system.
func (a *Archive) made(ctx context.Context, ref string) (Container, func(), error) {
	c, err := a.find(ref)
	if err != nil {
		return nil, nil, err
	}
	_, done, err := c.View(ctx)
	return c, done, err
}

func pathStat(s model.FileStat) container.PathStat {
	return container.PathStat{Name: s.Name, Size: s.Size, Mode: s.Mode, Mtime: s.ModTime, LinkTarget: s.LinkTarget}
}

// writable refuses to write to a folder of a container that the container may not write to.
// What is mounted there decides, the innermost mount; a tmpfs of --tmpfs is only there while
// the container runs.
func writable(rec containerrecord.Record, runs bool, folder string) error {
	var at *containerspec.MountPoint
	for i, p := range rec.Mounts {
		gone := p.Type == mount.TypeTmpfs && p.Unlisted && !runs
		if !gone && below(p.Destination, folder) && (at == nil || len(p.Destination) > len(at.Destination)) {
			at = &rec.Mounts[i]
		}
	}
	switch {
	case at != nil && !at.RW:
		return model.Errorf(model.Invalid, "mounted volume is marked read-only")
	case at == nil && rec.Host.ReadonlyRootfs:
		return model.Errorf(model.Invalid, "container rootfs is marked read-only")
	}
	return nil
}

// below tells whether a path is a folder or in it.
func below(folder, path string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
