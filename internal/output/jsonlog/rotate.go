package jsonlog

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	packedSuffix = ".gz"  // of a file that was put aside and compressed
	freshSuffix  = ".new" // of a file that is being made
)

// fileName returns the path of a log's i-th newest file.
func fileName(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// rotate puts the current file aside as path.1, that as path.2 and so on, and
// goes on in a new file. Each step leaves the order of the names the order of
// the ages, so that a crash between two of them costs nothing. The new file is
// made first: if it cannot be, nothing moves and the old one is used on.
func (l *Log) rotate() error {
	begun := time.Now()
	defer func() { l.pace.took(time.Since(begun)) }()
	if l.packing != nil { // it works under a name that is to change
		l.packing.wait()
		l.packing = nil
	}
	fresh, err := os.OpenFile(l.path+freshSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := l.shift(); err != nil {
		return errors.Join(fmt.Errorf("rotate log: %w", err), fresh.Close())
	}
	old := l.file
	l.file, l.size, l.torn = fresh, 0, false
	if l.opts.Compress && l.opts.MaxFiles > 1 {
		l.packing = startPacking(fileName(l.path, 1))
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}

// shift gives every file the name of the next older one, and the new file that
// of the current one. With one file to keep that replaces it, under a new inode:
// followers finish reading the old one.
func (l *Log) shift() error {
	oldest := l.opts.MaxFiles - 1
	aside, keep := l.aside()
	for i := aside; i > keep; i-- {
		if err := errors.Join(remove(fileName(l.path, i)), remove(fileName(l.path, i)+packedSuffix)); err != nil {
			return err
		}
	}
	if oldest > 0 {
		if err := remove(fileName(l.path, oldest)); err != nil {
			return err
		}
		if err := remove(fileName(l.path, oldest) + packedSuffix); err != nil {
			return err
		}
	}
	for i := min(oldest, keep+1); i > 1; i-- {
		from, to := fileName(l.path, i-1), fileName(l.path, i)
		if err := move(from, to); err != nil {
			return err
		}
		if err := move(from+packedSuffix, to+packedSuffix); err != nil {
			return err
		}
	}
	if oldest > 0 {
		if err := move(l.path, fileName(l.path, 1)); err != nil {
			return err
		}
	}
	return os.Rename(l.path+freshSuffix, l.path)
}

// longestEntry is more than an entry takes in a file, in bytes: 16 KiB of text of which
// each byte is escaped, and its attributes if they are no longer than that.
const longestEntry = 128 << 10

// aside returns how many files were put aside, without a number that none has, and how
// many of them stay: as many as are together not longer than all may be. They are when
// rotation could not keep pace, see pace.
func (l *Log) aside() (aside, keep int) {
	most := saturated(l.opts.MaxSize, longestEntry, int64(l.opts.MaxFiles))
	sum, full := l.size, false
	for i := 1; ; i++ {
		size, there := int64(0), false
		for _, name := range []string{fileName(l.path, i), fileName(l.path, i) + packedSuffix} {
			if info, err := os.Lstat(name); err == nil {
				size, there = size+info.Size(), true
			}
		}
		if !there {
			return i - 1, keep
		}
		if sum += size; sum > most {
			full = true
		}
		if !full {
			keep = i
		}
	}
}

func move(from, to string) error {
	if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// packing is the compressing of a file, in the background.
type packing struct {
	stop, done chan struct{}
}

func startPacking(path string) *packing {
	p := &packing{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		// What cannot be compressed stays as it is, and readable.
		if err := pack(path, p.stop); err != nil {
			os.Remove(path + packedSuffix + freshSuffix) //nolint:errcheck // the next one begins with O_TRUNC
		}
	}()
	return p
}

func (p *packing) wait() { <-p.done }

// abandon ends it; the file stays as it was.
func (p *packing) abandon() {
	close(p.stop)
	p.wait()
}

// pack replaces a file by its compressed form, which is complete before it has
// its name. The comment (RFC 1952, section 2.3.1) says which file it is, for
// followers that have it open.
func pack(path string, stop <-chan struct{}) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // nothing was written
	id, err := identityOf(from)
	if err != nil {
		return err
	}
	to, err := os.OpenFile(path+packedSuffix+freshSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return errors.Join(err, to.Close())
	}
	z.Comment = id
	_, err = io.Copy(z, stoppable{from, stop})
	if err = errors.Join(err, z.Close(), to.Close()); err != nil {
		return err
	}
	if err := os.Rename(to.Name(), path+packedSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}

// stoppable is a reader that can be told to give up.
type stoppable struct {
	io.Reader
	stop <-chan struct{}
}

func (s stoppable) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, fs.ErrClosed
	default:
		return s.Reader.Read(p)
	}
}
