package snapshots

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/linkspan/linkspan/internal/foldercopy"
	"github.com/linkspan/linkspan/internal/model"
)

// filling is the name, beside a volume's data, under which what an image has at the
// volume's place is copied. Containers that have the volume cannot reach it, and so not
// lead the copy astray by a link.
const filling = ".filling"

// FillVolumes copies what the image, whose file system is at root, has at the places of
// volumes into those that are empty, as Docker does: with owner and mode of the folder.
func (s *Store) FillVolumes(root string, given []model.Mount) error {
	for _, m := range given {
		if !m.CopyUp {
			continue
		}
		if err := s.fillVolume(root, m); err != nil {
			return fmt.Errorf("copy what the image has at %s into the volume: %w", m.Target, err)
		}
	}
	return nil
}

func (s *Store) fillVolume(root string, m model.Mount) error {
	s.filling.Lock() // two containers may begin with the same volume
	defer s.filling.Unlock()
	source, err := openFolderBelow(root, m.Target)
	if source == nil || err != nil {
		return err
	}
	defer source.Close()
	// The data folder is what containers see as a mount's root: none can put a link in
	// its place.
	data, err := os.OpenFile(m.Source, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOTDIR) { // a part of a volume that is a file
		return nil
	}
	if err != nil {
		return err
	}
	defer data.Close()
	if _, err := data.Readdirnames(1); !errors.Is(err, io.EOF) {
		return err // nil: it has something
	}
	staging := filepath.Join(filepath.Dir(m.Source), filling)
	if err := os.RemoveAll(staging); err != nil { // of a daemon that was killed
		return err
	}
	defer os.RemoveAll(staging) //nolint:errcheck // the next to fill the volume tries again
	if err := copyInto(source, staging); err != nil {
		return err
	}
	err = takeOver(data, staging)
	if errors.Is(err, unix.EXDEV) { // what the volume's options name is mounted there
		return foldercopy.Copy(source, data)
	}
	return err
}

// copyInto makes a folder at path and copies source into it.
func copyInto(source *os.File, path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	target, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer target.Close()
	return foldercopy.Copy(source, target)
}

// openFolderBelow opens a folder of a file system, whose links stay in it; nil if there
// is no folder.
func openFolderBelow(root, name string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir) //nolint:errcheck // nothing is written through it
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// takeOver moves all that is in staging into data, and gives data its owner and mode.
// What a container has put there meanwhile stays.
func takeOver(data *os.File, staging string) error {
	from, err := os.Open(staging)
	if err != nil {
		return err
	}
	defer from.Close()
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := unix.Renameat2(int(from.Fd()), name, int(data.Fd()), name, unix.RENAME_NOREPLACE)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "rename", Path: filepath.Join(staging, name), Err: err}
		}
	}
	var like unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &like); err != nil {
		return err
	}
	if err := unix.Fchown(int(data.Fd()), int(like.Uid), int(like.Gid)); err != nil {
		return err
	}
	return unix.Fchmod(int(data.Fd()), like.Mode&0o7777)
}
