package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/containerd"
)

// Read writes a file, or a folder with all in it, as a tar archive to what begin returns.
// begin is told first what the file is; an error of its is Read's. In the archive names
// begin with the last element of name. Errors: model.ErrNoFile before begin was called;
// after it the archive is broken off.
func (s *Store) Read(ctx context.Context, v model.FileView, name string, begin func(model.FileStat) (io.Writer, error)) error {
	return s.within(ctx, v, func() error {
		from := absolute(name)
		found, err := stat(from)
		if err != nil {
			return err
		}
		out, err := begin(found)
		if err != nil {
			return err
		}
		return read(ctx, out, from, found)
	})
}

// read is Read on a thread that is in the container's files.
func read(ctx context.Context, out io.Writer, from string, found model.FileStat) error {
	name := found.Name
	if found.Mode.IsDir() {
		name = path.Base(from)
	}
	return newArchiver(ctx, out).tree(from, name, true)
}

// Export writes all that a container's layers show, without what is mounted in them, as a
// tar archive.
func (s *Store) Export(ctx context.Context, id model.ContainerID, out io.Writer) error {
	layers, err := s.layers(ctx, id)
	if err != nil {
		return err
	}
	root, err := treeOf(ctx, layers, true)
	if err != nil {
		return containerd.Faultf("export", containerd.Describe(id), "mount the container's layers", err)
	}
	return s.run(ctx, id, &stopped{place: s.place, root: root}, func() error {
		return newArchiver(ctx, out).tree("/", "", false)
	})
}

// archiver writes files into a tar archive.
type archiver struct {
	ctx   context.Context //nolint:containedctx // of one archive
	out   *tar.Writer
	first map[inode]string // by which name a file with several is in the archive
}

type inode struct{ device, number uint64 }

func newArchiver(ctx context.Context, out io.Writer) *archiver {
	return &archiver{ctx, tar.NewWriter(out), map[inode]string{}}
}

// tree writes what is at from, and all below, under the name as; the top of it only if
// asked to. What goes while it is read is left out.
func (a *archiver) tree(from, as string, top bool) error {
	from = strings.TrimSuffix(from, ".")
	err := filepath.WalkDir(from, func(at string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = a.ctx.Err()
		}
		if err == nil && (top || at != from) {
			err = a.add(at, archived(at, from, as))
		}
		if vanished(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.out.Close()
}

// archived returns the name in an archive of what is at a path below from.
func archived(at, from, as string) string {
	below := strings.TrimPrefix(strings.TrimPrefix(at, from), "/")
	switch {
	case below == "":
		return as
	case as == "" || as == "/":
		return as + below
	}
	return as + "/" + below
}

// vanished tells whether an error says that a file went while it was read.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOTDIR)
}

// add writes one file.
func (a *archiver) add(at, name string) error {
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil // there is no such thing in an archive, and it would be nobody's
	}
	h, err := header(at, name, info)
	if err != nil {
		return err
	}
	if a.linked(h, info) || h.Typeflag != tar.TypeReg || h.Size == 0 {
		return a.out.WriteHeader(h)
	}
	f, err := openFile(at)
	if err != nil {
		return err
	}
	if f == nil { // another kind of file by now
		return nil
	}
	defer f.Close()
	if err := a.out.WriteHeader(h); err != nil {
		return err
	}
	return fill(a.out, f, h.Size)
}

// openFile opens a regular file; nil if it is none. Whatever a container puts there is
// neither followed nor waited for.
func openFile(at string) (*os.File, error) {
	fd, err := unix.Open(at, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: at, Err: err}
	}
	f := os.NewFile(uintptr(fd), at)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	return f, nil
}

// fill writes size bytes of a file, whose size may be another by now: what is missing is
// zeros, as with GNU tar.
func fill(out io.Writer, f io.Reader, size int64) error {
	n, err := io.CopyN(out, f, size)
	if errors.Is(err, io.EOF) {
		_, err = io.CopyN(out, zeros{}, size-n)
	}
	return err
}

// zeros is /dev/zero.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// linked makes the header one of a hard link if the file is in the archive already.
func (a *archiver) linked(h *tar.Header, info fs.FileInfo) bool {
	sys, ok := statOf(info)
	if !ok || info.IsDir() || sys.Nlink < 2 {
		return false
	}
	key := inode{sys.Dev, sys.Ino}
	name, seen := a.first[key]
	if seen {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, name, 0
	} else {
		a.first[key] = h.Name
	}
	return seen
}

// header describes a file as Docker does: owners as numbers, whole seconds, and of the
// attributes the file's capabilities.
func header(at, name string, info fs.FileInfo) (*tar.Header, error) {
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(at); err != nil {
			return nil, err
		}
	}
	h, err := tar.FileInfoHeader(nameless{info}, target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	h.Format, h.Name = tar.FormatPAX, name
	if info.IsDir() && !strings.HasSuffix(name, "/") {
		h.Name += "/"
	}
	h.ModTime, h.AccessTime, h.ChangeTime = h.ModTime.Truncate(time.Second), time.Time{}, time.Time{}
	if sys, ok := statOf(info); ok {
		h.Uid, h.Gid = int(sys.Uid), int(sys.Gid)
		if info.Mode()&fs.ModeDevice != 0 {
			h.Devmajor, h.Devminor = int64(unix.Major(sys.Rdev)), int64(unix.Minor(sys.Rdev))
		}
	}
	const capability = "security.capability"
	raw := make([]byte, 64) // struct vfs_ns_cap_data has 24
	if n, err := unix.Lgetxattr(at, capability, raw); err == nil {
		h.PAXRecords = map[string]string{"SCHILY.xattr." + capability: string(raw[:n])}
	}
	return h, nil
}
