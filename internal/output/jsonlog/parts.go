package jsonlog

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxHoles is how many names in a row may be missing before a search for
	// files ends: rotation leaves one while it goes on or after a crash, and may
	// go on during the search.
	maxHoles = 3
	// maxSearches bounds how often files that were moved are searched for again.
	maxSearches = 10
)

// errDamaged is the error of a file that is not what its name says.
var errDamaged = errors.New("damaged")

// part is one file of a log. It stays what it is while it is open, whatever
// rotation does to its name.
type part struct {
	file   *os.File
	packed bool
	id     string // tells it from all other files
	skip   int    // how many of a packed part's lines are not wanted
}

// identityOf names an open file: device, inode and, since the kernel gives inodes
// that are free to the next file, the time it was made.
func identityOf(f *os.File) (string, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return "", err
	}
	var id string
	failed := raw.Control(func(fd uintptr) { id, err = identity(int(fd), "", unix.AT_EMPTY_PATH) })
	return id, errors.Join(failed, err)
}

func identity(dir int, name string, flags int) (string, error) {
	var s unix.Statx_t
	if err := unix.Statx(dir, name, flags, unix.STATX_INO|unix.STATX_BTIME, &s); err != nil {
		return "", &os.PathError{Op: "statx", Path: name, Err: err}
	}
	return fmt.Sprintf("%d:%d:%d:%d.%09d", s.Dev_major, s.Dev_minor, s.Ino, s.Btime.Sec, s.Btime.Nsec), nil
}

// openParts opens a log's files, the oldest first; none if there is no log. It
// searches again when the log was rotated meanwhile: it might else find a file,
// lose it to the limit, and then find one that is younger where it expects older
// ones.
func openParts(path string) ([]part, error) {
	for search := 0; ; search++ {
		parts, err := searchParts(path)
		if err != nil || len(parts) == 0 {
			return parts, err
		}
		if newest := parts[len(parts)-1]; newest.current(path) || search == maxSearches {
			return parts, nil
		}
		closeParts(parts)
	}
}

// searchParts looks from the newest to the oldest, the way that rotation moves
// files: so it may meet one twice, but not miss one. What it met between the two
// is younger than that one, and left for later.
func searchParts(path string) ([]part, error) {
	var parts []part // the newest first
	for i, holes := 0, 0; holes < maxHoles; i++ {
		p, err := openPart(fileName(path, i), i > 0)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			holes++
			continue
		case errors.Is(err, errDamaged):
			continue
		case err != nil:
			closeParts(parts)
			return nil, fmt.Errorf("read log: %w", err)
		}
		holes = 0
		if met := slices.IndexFunc(parts, func(q part) bool { return q.id == p.id }); met >= 0 {
			closeParts(append(parts[met+1:], p))
			parts = parts[:met+1]
			continue
		}
		parts = append(parts, p)
	}
	slices.Reverse(parts)
	return parts, nil
}

// openPart opens the file of a name or, if there is none, its compressed form,
// which is complete before the other goes.
func openPart(name string, mayBePacked bool) (part, error) {
	f, err := os.Open(name)
	if err == nil {
		id, err := identityOf(f)
		if err != nil {
			return part{}, errors.Join(err, f.Close())
		}
		return part{file: f, id: id}, nil
	}
	if !mayBePacked || !errors.Is(err, fs.ErrNotExist) {
		return part{}, err
	}
	if f, err = os.Open(name + packedSuffix); err != nil {
		return part{}, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return part{}, errors.Join(errDamaged, f.Close())
	}
	return part{file: f, packed: true, id: z.Comment}, nil
}

// open returns the part's text from where it is wanted.
func (p part) open() (io.Reader, error) {
	if !p.packed {
		return p.file, nil
	}
	text, err := p.unpack()
	if err != nil {
		return nil, err
	}
	for range p.skip {
		if err := skipLine(text); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return text, nil
}

func (p part) unpack() (*bufio.Reader, error) {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(p.file)
	if err != nil {
		return nil, err
	}
	return bufio.NewReader(untilDamage{z}), nil
}

// untilDamage ends where the text cannot be read on: the rest of the log is
// worth reading.
type untilDamage struct{ io.Reader }

func (u untilDamage) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// lines counts a packed part's lines.
func (p part) lines() (int, error) {
	text, err := p.unpack()
	if err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		switch err := skipLine(text); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return 0, err
		}
	}
}

func skipLine(from *bufio.Reader) error {
	for {
		if _, err := from.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// shrunk tells whether a file was cut shorter than what was read of it, as
// administrators do to make room.
func (p part) shrunk() bool {
	at, err := p.file.Seek(0, io.SeekCurrent)
	if err != nil || p.packed {
		return false
	}
	info, err := p.file.Stat()
	return err == nil && info.Size() < at
}

// unlinked tells whether the file has no name any more.
func (p part) unlinked() bool {
	info, err := p.file.Stat()
	if err != nil {
		return true
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return !ok || s.Nlink == 0
}

// current tells whether the part is the file that is written to.
func (p part) current(path string) bool {
	id, err := identity(unix.AT_FDCWD, path, 0)
	// Without a file of that name rotation is at work, or the log was removed:
	// there is nothing to go on to in either case.
	return err != nil || id == p.id
}

// newerParts opens what came after a part, the oldest first.
func newerParts(path string, than part) ([]part, error) {
	if than.current(path) {
		return nil, nil
	}
	for search := 0; ; search++ {
		parts, err := openParts(path)
		if err != nil {
			return nil, err
		}
		for i := len(parts) - 1; i >= 0; i-- {
			if parts[i].id == than.id {
				closeParts(parts[:i+1])
				return parts[i+1:], nil
			}
		}
		// If it was removed, all that is left came after it. If not, rotation
		// overtook the search.
		if than.unlinked() || search == maxSearches {
			return parts, nil
		}
		closeParts(parts)
	}
}

func closeParts(parts []part) {
	for _, p := range parts {
		p.file.Close() //nolint:errcheck // nothing was written
	}
}
