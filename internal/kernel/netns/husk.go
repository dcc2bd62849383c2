package netns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// markMax is more than what is read of a file to see whether it is ours, in bytes.
const markMax = 256

// Husks names the files of ours that no namespace is mounted on, in this mount
// namespace: one was there once, or was about to be when the daemon that made the
// file was killed.
func (d *Dir) Husks() []string {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if !d.isLeaving(e.Name()) && d.IsHusk(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}

// IsHusk tells whether a name is one that Husks returns.
func (d *Dir) IsHusk(name string) bool {
	path := d.Path(name)
	return !isNamespace(path) && d.marked(path)
}

// marked tells whether the file at path is one of this instance's.
func (d *Dir) marked(path string) bool {
	info, err := os.Lstat(path)
	if d.mark == "" || err != nil || info.Mode() != huskMode || info.Size() != int64(len(d.mark)) {
		return false
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, markMax))
	return err == nil && string(text) == d.mark
}

// layOut makes the file that a namespace is to be mounted on. It appears with its
// mark in it, so that a crash leaves nothing that is nobody's. A file that is there
// is used as it is.
func (d *Dir) layOut(path string) error {
	if d.mark == "" {
		return errors.New("without an instance no namespace can be made")
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, huskMode)
	if err != nil {
		return d.layOutPlainly(path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := d.sign(f); err != nil {
		return err
	}
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/thread-self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.LinkError{Op: "link", Old: "a new file", New: path, Err: err}
	}
	return nil
}

// layOutPlainly is for file systems that cannot make a file before it has a name.
func (d *Dir) layOutPlainly(path string, why error) error {
	if !errors.Is(why, unix.EOPNOTSUPP) && !errors.Is(why, unix.EISDIR) && !errors.Is(why, unix.EINVAL) {
		return &fs.PathError{Op: "make a file in", Path: filepath.Dir(path), Err: why}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, huskMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.sign(f), f.Close())
}

// sign makes a file one of ours, whatever the process's umask.
func (d *Dir) sign(f *os.File) error {
	_, err := f.WriteString(d.mark)
	return errors.Join(err, f.Chmod(huskMode))
}

// unlink removes a file of ours; others stay.
func (d *Dir) unlink(path string) error {
	if isNamespace(path) || !d.marked(path) {
		return nil
	}
	return gone(os.Remove(path))
}

// gone makes the removal of what is missing a success.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
